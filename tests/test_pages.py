"""The report and the comparison: what they say, draw and hold, and that browsers run them."""

import base64
import gzip
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from efat.errors import EfatError
from efat.fleets import load_fleet
from efat.pages.compare import compare_runs
from efat.pages.finished import read_run
from efat.pages.html import page_data
from efat.pages.verdict import headline, sentences
from efat.pages.writing import write_comparison, write_report
from efat.run import main
from tests.run_folders import finished

TEMPLATES = Path(__file__).parents[1] / "efat/pages/templates"
PARTS = {"data", "plotly"}


class Page(HTMLParser):
    """Collects what a page has and what it asks of the network."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.addresses, self.texts, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [named[k] for k in ("src", "href", "srcset") if k in named]
        self.open.append(tag)

    def handle_data(self, data):
        if self.open[-1:] != ["script"]:
            self.texts.append(data)


@pytest.fixture
def report(tmp_path):
    run = write_report(finished(tmp_path / "run"))
    text = (run.folder / "report.html").read_text()
    return run, text, Page(text)


def unpack(text, part):
    body = re.search(rf'id="{part}">([^<]*)<', text).group(1)
    return gzip.decompress(base64.b64decode(body))


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
    assert "(12 x 3.0 = 36.0). The budget is 3 evaluation intervals of 1 epochs (10 steps)." in said
    assert "Short of the constraint on test: chip00." in said
    assert "Unsalvageable, since no amount within the budget repairs them: chip11." in said
    assert "What a better plan could save: at most 25% of the price of this one" in said
    assert "none (" not in said
    assert (
        "On test 10 chips are verified, 0 met and 2 short; the test split was only measured on"
        in said
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


def test_runs_are_compared_chip_by_chip(tmp_path):
    folders = [finished(tmp_path / "a", 31), finished(tmp_path / "b", 31, worse=0.05)]
    better, worse = map(read_run, folders)
    same = compare_runs([better, better]).differences[1]
    assert (same.chips, same.clusters, same.mean, same.shown) == (31, 11, 0.0, False)
    lower = compare_runs([better, worse]).differences[1]
    assert lower.mean == pytest.approx(-0.05 * 29 / 31)
    assert lower.shown
    assert lower.low < lower.mean < lower.high < 0
    few = compare_runs([read_run(finished(tmp_path / x, 6, worse=w)) for x, w in ("c0", "d1")
                        for w in (int(w) / 10,)])  # fmt: skip
    assert few.differences[1].clusters == 3
    assert not few.differences[1].shown
    other = compare_runs([better, read_run(finished(tmp_path / "e", 31, seed=1))])
    assert "no chip is in both" in other.findings[0]
    assert ("seed", "0", "1") in other.settings


def test_the_comparison_is_written(tmp_path):
    folders = [finished(tmp_path / "a"), finished(tmp_path / "b", worse=0.05)]
    findings = write_comparison(folders, tmp_path / "out")
    text = (tmp_path / "out/compare.html").read_text()
    assert findings[0].replace("+", "&#43;") in text or findings[0] in text
    figures = json.loads(unpack(text, "data"))["figures"]
    assert {f"figure-{n}" for n in figures} <= set(Page(text).ids)
    assert findings[0] in (tmp_path / "out/compare.md").read_text()
    with pytest.raises(EfatError, match="needs two or more"):
        write_comparison(folders[:1], tmp_path / "out")


def test_the_comparison_says_whose_status_changes(tmp_path):
    folders = [finished(tmp_path / "a"), finished(tmp_path / "b", worse=0.05)]
    write_comparison(folders, tmp_path)
    page, text = ((tmp_path / f"compare.{end}").read_text() for end in ("html", "md"))
    [table] = re.findall(r'<table id="statuses">(.*?)</table>', page, re.DOTALL)
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("</tr>")[1:-1]]
    assert rows == [[f"chip{i:02d}", "verified", "met"] for i in range(1, 11)]  # 00 and 11: short
    assert "| chip10 | verified | met |" in text
    assert "| 10 | 10 | 10 | 8.0 |" in text  # met, verified, met on validation, epochs
    assert "| 10 | 0 | 10 | 8.0 |" in text
    same = compare_runs([read_run(folders[0])] * 2)
    assert same.statuses == ()
    other = compare_runs([read_run(folders[0]), read_run(finished(tmp_path / "c", seed=1))])
    assert other.statuses == ()  # no chip is in both


def test_a_run_from_before_chips_were_verified_can_still_be_read(tmp_path):
    finished(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    for strategy in summary["strategies"]:
        del strategy["verified"]
    del summary["confidence"]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    run = write_report(tmp_path)
    assert "| fixed | 12 | 24.0 | 36.0 | 0 | 10 | 10 | - |" in (tmp_path / "report.md").read_text()
    newer = read_run(finished(tmp_path / "newer"))
    newer.summary["metric"]["proportion"] = True  # so is the older one's, which does not say so
    assert [row["verified"] for row in compare_runs([newer, run]).rows] == [10, None]


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


SCRIPT_CHECK = """
const R = [["chip2", "", "g1", true, true], ["chip10", "", "g2", false, true],
           ["chip1", "", "g1", false, false]];
const names = rows => rows.map(r => r[0]).join();
const found = (words, which) => names(R.filter(r => matches(r, words, which)));
console.log(names([...R].sort((a, b) => compare(a, b, 0, true))));
console.log(names([...R].sort((a, b) => compare(a, b, 0, false))));
console.log(found("G1", ""), found("", "short"), found("", "lost"), found("chip1 g2", ""));
console.log(compare([null], [1], 0, true), compare([null], [1], 0, false));
console.log(cells("gAE=", {rows: 4, cols: 4, exact: true}).join(""));
console.log(format(0.5, "share"), format(0.5, "metric", true), format(true, "flag"));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_scripts_sort_filter_and_unpack():
    script = (TEMPLATES / "report.js").read_text()
    pure = script[: script.index("const state")]
    command = ["node", "-e", pure + SCRIPT_CHECK]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:6] == [
        "chip1,chip2,chip10",
        "chip10,chip2,chip1",
        "chip2,chip1 chip10 chip1 chip10",
        "1 1",
        "255" + 14 * "0" + "255",
        "50.0% 50.00% yes",
    ]


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs efat[browser]")
    installed = shutil.which("chromium") or shutil.which("google-chrome")
    with playwright.sync_playwright() as starter:
        try:
            opened = starter.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {error}")
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_opens_the_comparison(tmp_path, browser, scheme):
    folders = [finished(tmp_path / "a"), finished(tmp_path / "b", worse=0.05)]
    write_comparison(folders, tmp_path)
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    troubles = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto((tmp_path / "compare.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    assert troubles == []
    assert page.locator(".js-plotly-plot").count() == 3
    assert page.locator("#statuses tbody tr").count() == 10
    fits = "e => e.scrollWidth <= e.parentElement.clientWidth"
    assert page.locator("#results").evaluate(fits)  # no column is cut off on a desktop


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_opens_it(report, browser, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    troubles, requests = [], []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((report[0].folder / "report.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    assert troubles == []
    assert [u for u in requests if not u.startswith(("file:", "data:", "blob:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".js-plotly-plot").count() == 6

    def first():
        return page.locator("#chips tbody tr td").first.text_content()

    assert first() == "chip00"
    page.locator("#chips th button").first.click()
    assert first() == "chip11"
    page.select_option("#which", "short")
    assert (first(), page.locator("#chips tbody tr").count()) == ("chip00", 1)
    page.locator("#chips tbody tr").first.click()
    assert "carries the model of group000" in page.locator("#why").text_content()
    page.select_option("#which", "")
    page.fill("#find", "group002")
    assert page.locator("#chips tbody tr").count() == 3
    page.select_option("#rate", "0.3")
    page.locator("#theme").click()
    assert troubles == []
