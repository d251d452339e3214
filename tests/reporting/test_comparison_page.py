"""The comparison of runs: what it says and holds."""

import json
import re

import pytest

from efat.campaign.run_result import RunResult
from efat.errors import EfatError
from efat.reporting.html.comparison import compare_runs
from efat.reporting.html.write import write_comparison
from tests.reporting.html_pages import Page, unpack
from tests.reporting.run_folders import finished


def test_runs_are_compared_chip_by_chip(tmp_path):
    folders = [finished(tmp_path / "a", chips=31), finished(tmp_path / "b", chips=31, worse=0.05)]
    better, worse = map(RunResult.load, folders)
    same = compare_runs([better, better]).differences[1]
    assert (same.chips, same.clusters, same.mean, same.shown) == (31, 11, 0.0, False)
    lower = compare_runs([better, worse]).differences[1]
    assert lower.mean == pytest.approx(-0.05 * 29 / 31)
    assert lower.shown
    assert lower.low < lower.mean < lower.high < 0
    two = [finished(tmp_path / f"few{w}", chips=6, worse=w) for w in (0.0, 0.1)]
    few = compare_runs(list(map(RunResult.load, two)))
    assert few.differences[1].clusters == 3
    assert not few.differences[1].shown
    other = compare_runs([better, RunResult.load(finished(tmp_path / "e", chips=31, seed=1))])
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
    assert rows == [[f"chip{i:02d}", "certified", "pass"] for i in range(1, 11)]  # 00 and 11: fail
    assert "| chip10 | certified | pass |" in text
    assert "| 10 | 10 | 10 | 8.0 |" in text  # pass on test, certified, pass on validation, epochs
    assert "| 10 | 0 | 10 | 8.0 |" in text
    same = compare_runs([RunResult.load(folders[0])] * 2)
    assert same.statuses == ()
    other = compare_runs(
        [RunResult.load(folders[0]), RunResult.load(finished(tmp_path / "c", seed=1))]
    )
    assert other.statuses == ()  # no chip is in both
