"""The comparison of runs: what it says and holds."""

import json
import re

import pytest
from efat.reporting.html.run_reader import read_run

from efat.errors import EfatError
from efat.reporting.html.comparison import compare_runs
from efat.reporting.html.write import write_comparison, write_report
from tests.reporting.html_pages import Page, unpack
from tests.reporting.run_folders import finished


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
    assert rows == [[f"chip{i:02d}", "certified", "pass"] for i in range(1, 11)]  # 00 and 11: fail
    assert "| chip10 | certified | pass |" in text
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
