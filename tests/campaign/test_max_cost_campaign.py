"""A limit on the analysis, from the command line to the report."""

import json

import pytest

from tests.cli.command_line import TINY, counts, efat, rows, run_folder

EVERY, BUDGET = 8, 96

SEARCH = (
    *TINY,
    "fault_rates.until_met=true",
    "fault_rates.search=bisect",
    "fault_rates.rates=[0.05,0.1,0.2,0.4,0.6,0.8]",
    "fleet.chips=2",
    "planner=greedy",
    "compare=[none]",
    "executor=serial",
)


def test_a_limited_job_ends_with_a_report_and_finds_its_curves_again(tmp_path):
    limit = "fault_rates.max_cost=0.35"
    result = efat(tmp_path, *SEARCH, limit)
    assert result.returncode == 0, result.stderr
    folder = run_folder(tmp_path)
    recorded = rows(folder / "curves.csv")
    whole = 6 * 2 * 5
    assert len(recorded) <= 0.35 * whole
    document = json.loads((folder / "resilience_map.json").read_text())
    found, last = document["fault_rates"], {}
    for row in recorded:
        last.setdefault(float(row["fault_rate"]), {})[row["repeat"]] = float(row["val_metric"])
    assert found == [
        rate
        for rate, ends in sorted(last.items())
        if len(ends) == 2 or min(ends.values()) < document["target"]
    ]
    assert document["cut_short"]
    units = {(row["fault_rate"], row["repeat"]) for row in recorded}
    assert f"{len(units)} curves" in result.stdout
    assert (
        f"read off {len(found)} of 6 fault rates, those that bisection measured, until "
        "fault_rates.max_cost ended it" in (folder / "report.html").read_text()
    )
    status = counts(efat(tmp_path, *SEARCH, limit, "stage=status"))
    assert status["analyse"] == [str(len(units)), "0", "0"]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["fault_rates.max_cost=0.25"], "0.25 given with fault_rates.search=grid"),
        (["fault_rates.max_cost=0.1", "fault_rates.search=bisect"], "0.1 given; a number in [0.3"),
        (["fault_rates.max_cost=1.5", "fault_rates.search=bisect"], "1.5 given; a number in"),
        (
            ["fault_rates.max_cost=0.333333", "fault_rates.search=bisect"],
            "0.333333 given; a number in [0.3334, 1] is needed",
        ),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(tmp_path, overrides, problem):
    result = efat(tmp_path, *TINY, *overrides)
    assert result.returncode == 2
    assert f"fault_rates.max_cost: {problem}" in result.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_search_that_is_none_is_one_problem(tmp_path):
    result = efat(tmp_path, *TINY, "fault_rates.max_cost=0.5", "fault_rates.search=halve")
    assert "fault_rates.search: 'halve' given" in result.stderr
    assert "max_cost" not in result.stderr


def test_chips_that_a_limit_kept_from_being_looked_into_are_named(tmp_path):
    """Any accuracy will do: only 0.2 and 0.6 are measured, so that 0.8 is open, and 0.9 is not."""
    anything = ("fault_rates.until_met=false", "selection.max_drop=1", "fault_rates.max_cost=0.35")
    chips = ("fleet.chips=6", "fleet.fault_rate=[0.4,0.95]")
    result = efat(tmp_path, *SEARCH, *anything, *chips)
    assert result.returncode == 0, result.stderr
    folder = run_folder(tmp_path)
    rates = {row["chip_id"]: float(row["fault_rate"]) for row in rows(folder / "chips.csv")}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["undecided"] == sorted(name for name in rates if 0.61 < rates[name] < 0.8)
    assert summary["unsalvageable"] == sorted(name for name in rates if rates[name] > 0.61)
    assert 0 < len(summary["undecided"]) < len(summary["unsalvageable"])
    said = " ".join(result.stdout.split())
    assert said.count(f"max_cost ended the analysis: {', '.join(summary['undecided'])}") == 2
    assert "Undecided, since fault_rates.max_cost" in (folder / "report.md").read_text()
