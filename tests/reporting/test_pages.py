"""The report: what it says, draws and holds."""

import base64
import json
import re

import numpy as np
import pytest
from efat.reporting.html.run_reader import read_run
from efat.reporting.html.summary_text import headline, sentences

from efat.errors import EfatError
from efat.hardware.fleets import load_fleet
from efat.reporting.html.report_page import page_data
from efat.reporting.html.write import write_report
from efat.run import main
from tests.reporting.html_pages import TEMPLATES, Page, unpack
from tests.reporting.run_folders import finished


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


def test_the_verdict_comes_first_and_in_words(report):
    run, text, _ = report
    assert headline(run) == (
        "10 of 12 chips meet the constraint on test (accuracy at least 80.00%), for 4 retrainings "
        "and 8.0 epochs."
    )
    assert text.index(headline(run)) < text.index('id="figure-cost"')
    said = " ".join(sentences(run))
    assert "Against fixed (12 retrainings, 24.0 epochs, 10 chips meet it on test): 67% less" in said
    assert "12.0 epochs more: 20.0 in all, less than retraining every chip" in said
    assert "(12 x 3.0 = 36.0). The budget is 3 evaluation intervals of 1 epoch (10 steps)." in said
    assert "Short of the constraint on test: chip00." in said
    assert "Unsalvageable, since no amount within the budget is known for them: chip11." in said
    assert "What a better plan could save: at most 25% of the price of this one" in said
    assert "none (" not in said
    assert (
        "On test 10 chips are certified, 0 pass and 2 fail (1 of them beyond the resilience map); "
        "the test split was only measured on" in said
    )


@pytest.mark.parametrize("models", [4, 0])
def test_what_is_spent_counts_hardening_for_all_who_use_it(tmp_path, models):
    run = read_run(finished(tmp_path))
    chosen, fixed = run.summary["strategies"][0], run.summary["strategies"][1]
    chosen["models"], chosen["retraining"]["epochs"] = models, 2.0 * models
    run.summary["hardening"] = {"epochs": 20.0, "elapsed_s": 1.0}
    run.summary["hardened"] = run.summary["baseline"]
    fixed |= {"name": "early_stop", "needs_analysis": False}
    said = " ".join(sentences(run))
    assert f"{2 * models + 32}.0 in all, 20.0 of them hardening, " in said
    assert (
        f"with its analysis, {(2 * models + 32) / 44:.1f} times as many" in said
    )  # as 24 and hardening


def test_the_table_of_strategies_counts_the_verified(report):
    _, text, _ = report
    rows = re.findall(r"<tr><td>(\w+)</td>(.*?)</tr>", text)
    cells = {name: re.findall(r"<td>(.*?)</td>", rest) for name, rest in rows}
    assert cells["fixed"][:7] == ["12", "24.0", "36.0", "0", "10", "10", "10"]


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
    run = read_run(finished(tmp_path, side=side))
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


def test_the_text_has_the_same_table(report):
    text = (report[0].folder / "report.md").read_text()
    assert f"**{headline(report[0])}**" in text
    assert "| fixed | 12 | 24.0 | 36.0 | 0 | 10 | 10 | 10 |" in text
    assert "`python -m efat.run`" in text
    assert "`None`" not in text  # a figure that does not apply is left out


def test_what_is_missing_or_damaged_is_named(tmp_path):
    finished(tmp_path / "done")
    with pytest.raises(EfatError, match=r"no summary.json.*such as runs=\[.*done\]"):
        read_run(tmp_path / "other")
    (tmp_path / "done/chips.csv").unlink()
    with pytest.raises(EfatError, match=r"no chips.csv in it"):
        read_run(tmp_path / "done")
    finished(tmp_path / "done")
    (tmp_path / "done/summary.json").write_text("{}")
    with pytest.raises(EfatError, match="damaged"):
        read_run(tmp_path / "done")


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
