"""The report: what it says, draws and holds."""

import base64
import html
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from efat.campaign.outcome import TrainingCost
from efat.campaign.run_result import RunResult
from efat.errors import EfatError
from efat.hardware.fleets import load_fleet
from efat.reporting.html.report_page import page_data
from efat.reporting.html.write import write_report
from efat.reporting.sentences import headline, strategy_rows, summary
from efat.reporting.terminal.outcome import describe_outcome
from efat.run import main
from tests.reporting.html_pages import TEMPLATES, Page, unpack
from tests.reporting.run_folders import edit, finished, result


@pytest.fixture
def report(tmp_path):
    run = write_report(finished(tmp_path / "run"))
    text = (run.folder / "report.html").read_text()
    return run, text, Page(text)


def test_the_page_needs_nothing_else(report):
    _, text, page = report
    assert page.addresses == ["data:,"]
    assert "default-src 'none'" in text
    assert unpack(text, "plotly").count(b"plotly.js v") == 1
    assert len(page.ids) == len(set(page.ids))
    script = "".join((TEMPLATES / f).read_text() for f in ("figures.js", "report.js"))
    asked = set(re.findall(r'\$\("([\w-]+)"\)', script))
    assert len(asked) > 10
    assert asked <= set(page.ids)


def golden(name, text):
    """Compare with a stored text; EFAT_UPDATE_GOLDEN=1 stores the new one for review."""
    path = Path(__file__).parent / "golden" / name
    if os.environ.get("EFAT_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_the_report_reads_as_the_golden_page(report):
    run, text, _ = report
    golden("report.md", (run.folder / "report.md").read_text())
    assert text.index(headline(run)) < text.index('id="figure-cost"')
    for sentence in summary(run):
        assert html.escape(sentence, quote=False) in text


def test_the_terminal_reads_as_the_golden_run():
    console = Console(file=io.StringIO(), width=80, markup=False)
    console.print(describe_outcome(result()))
    lines = console.file.getvalue().splitlines()
    golden("terminal.txt", "\n".join(line.rstrip() for line in lines) + "\n")


@pytest.mark.parametrize("models", [4, 0])
def test_what_is_spent_counts_hardening_for_all_who_use_it(models):
    run = result()
    chosen, fixed, none = run.strategies
    chosen = replace(
        chosen, models=models, retraining=replace(chosen.retraining, epochs=2.0 * models)
    )
    fixed = replace(fixed, name="early_stop", needs_analysis=False)
    hardening = TrainingCost(200, 20.0, 0, 1.0)
    outcome = replace(run.outcome, strategies=(chosen, fixed, none), hardening=hardening)
    run = replace(run, outcome=outcome)
    assert run.spent_epochs == 2 * models + 32
    assert [outcome.once_epochs(s) for s in run.strategies] == [12 + 20 * (models > 0), 20, 0]


def test_the_table_of_strategies_counts_certified_chips(report):
    run, text, _ = report
    rows = re.findall(r"<tr><td>(\w+)</td>(.*?)</tr>", text)
    cells = {name: re.findall(r"<td>(.*?)</td>", rest) for name, rest in rows}
    assert cells["fixed"][:7] == ["12", "24.0", "36.0", "0", "10", "10", "10"]
    assert [row["certified"] for row in strategy_rows(run)] == [10, 10, 10]


def test_a_run_comes_back_as_it_was_saved(tmp_path):
    saved = result()
    loaded = RunResult.load(finished(tmp_path))
    for name in ("outcome", "metric", "amounts", "settings", "plan", "groups", "map", "maps"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert repr(loaded.curves) == repr(saved.curves)  # NaN after a divergence
    assert loaded.crossings == saved.crossings == ((0.1, 1.0), (0.1, 1.0), (0.3, 1.0), (0.3, 1.0))


def test_figures_are_plotlys_and_hold_the_numbers(report):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    data = json.loads(unpack(report[1], "data"))
    figures = data["figures"]
    assert {f"figure-{name}" for name in figures} == {
        i for i in report[2].ids if i.startswith("figure-")
    }
    for figure in figures.values():
        graph_objects.Figure(figure)  # raises where Plotly knows no such property
    assert figures["cost"]["data"][0]["x"] == [0.0, 24.0, 8.0]
    assert figures["cost"]["data"][1]["x"] == [0.0, 12.0, 12.0]
    before, met, short = figures["chips"]["data"]
    assert (len(before["x"]), len(met["x"]), len(short["x"])) == (12, 10, 2)
    crossings = figures["map"]["data"][0]
    assert sorted(zip(crossings["x"], crossings["y"], strict=True)) == 2 * [(0.1, 1.0)] + 2 * [
        (0.3, 1.0)
    ]
    assert max(y for y in figures["map"]["data"][1]["y"] if y is not None) == 2.0
    lines = [t for t in figures["curves"]["data"] if t["mode"] == "lines" and "fill" not in t]
    assert lines[1]["y"] == pytest.approx([71, 81, 91, 101])  # what diverged has left the mean


@pytest.mark.parametrize("side", [8, 100])
def test_fault_maps_come_back(tmp_path, side):
    run = RunResult.load(finished(tmp_path, side=side))
    maps = page_data(run)["maps"]
    fleet = {c.chip_id: c.fault_map.faulty for c in load_fleet(tmp_path / "fleet.npz")}
    body = np.frombuffer(base64.b64decode(maps["maps"]["chip03"]), np.uint8)
    if side == 8:
        assert (np.unpackbits(body)[:64].reshape(8, 8) == fleet["chip03"]).all()
        return
    shares = body.reshape(maps["rows"], maps["cols"]) / 255
    assert not maps["exact"]
    assert shares[0, 0] == pytest.approx(fleet["chip03"][:4, :4].mean(), abs=0.003)
    assert shares[-1, -1] == pytest.approx(fleet["chip03"][-3:, -3:].mean(), abs=0.003)


@pytest.mark.parametrize("side", [16, 128])
def test_a_thousand_chips_stay_below_5_mb(tmp_path, side):
    write_report(finished(tmp_path, chips=1000, side=side))
    assert (tmp_path / "report.html").stat().st_size < 5e6


def test_names_of_chips_cannot_break_out_of_the_page(tmp_path):
    finished(tmp_path, name="<script>alert(1)</script>")
    write_report(tmp_path)
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


def test_what_is_missing_or_damaged_is_named(tmp_path):
    finished(tmp_path / "done")
    with pytest.raises(EfatError, match=r"no summary.json.*such as runs=\[.*done\]"):
        RunResult.load(tmp_path / "other")
    (tmp_path / "done/chips.csv").unlink()
    with pytest.raises(EfatError, match=r"no chips.csv in it"):
        RunResult.load(tmp_path / "done")
    finished(tmp_path / "done")
    edit(tmp_path / "done/summary.json", version=1)
    with pytest.raises(EfatError, match="is of version 1, this efat reads version 2"):
        RunResult.load(tmp_path / "done")
    edit(tmp_path / "done/summary.json", version=2, amounts={})
    with pytest.raises(EfatError, match="damaged"):
        RunResult.load(tmp_path / "done")


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["efat", *arguments])
    return main()


def test_the_command_line_writes_pages(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        finished(tmp_path / name)
    assert run_main(monkeypatch, "stage=report", "runs=[a,b]") == 0
    assert (tmp_path / "a/report.html").exists()
    assert (tmp_path / "b/report.md").exists()
    for _ in range(2):  # within a second
        assert run_main(monkeypatch, "stage=compare", "runs=[a,b]") == 0
    found = [path.parent.name for path in tmp_path.glob("outputs/compare/*/compare.html")]
    assert len(found) == 2
    assert all(re.fullmatch(r"[\d-]{10}_[\d-]{8}-\d{6}", name) for name in found)  # to microseconds
    assert not (tmp_path / ".hydra").exists()
    for wrong in (["stage=report"], ["stage=compare", "runs=[a]"], ["runs=[a]"],
                  ["-m", "stage=report,plan", "runs=[a]"], ["stage=report", "runs=[no]"],
                  ["stage=report", "runs=[a]", "nonsense=1"]):  # fmt: skip
        assert run_main(monkeypatch, *wrong) == 2, wrong
    assert "runs: none given" in capsys.readouterr().err
