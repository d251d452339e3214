"""Scripts of the pages run: in Node, and in a browser."""

import shutil
import subprocess

import pytest

from efat.reporting.html.write import write_comparison, write_report
from tests.reporting.html_pages import TEMPLATES
from tests.reporting.run_folders import finished

SCRIPT_CHECK = """
const R = [["chip2", "", "g1", true, true], ["chip10", "", "g2", false, true],
           ["chip1", "", "g1", false, false]];
const names = rows => rows.map(r => r[0]).join();
const found = (words, which) => names(R.filter(r => matches(r, words, which)));
console.log(names([...R].sort((a, b) => compare(a, b, 0, true))));
console.log(names([...R].sort((a, b) => compare(a, b, 0, false))));
console.log(found("G1", ""), found("", "fail"), found("", "unsalvageable"), found("chip1 g2", ""));
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
def test_a_browser_opens_it(tmp_path, browser, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    troubles, requests = [], []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    run = write_report(finished(tmp_path / "run"))
    page.goto((run.folder / "report.html").as_uri())
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
    page.select_option("#which", "fail")
    assert (first(), page.locator("#chips tbody tr").count()) == ("chip00", 1)
    page.locator("#chips tbody tr").first.click()
    assert "carries the model of group000" in page.locator("#why").text_content()
    page.select_option("#which", "")
    page.fill("#find", "group002")
    assert page.locator("#chips tbody tr").count() == 3
    page.select_option("#rate", "0.3")
    page.locator("#theme").click()
    assert troubles == []
