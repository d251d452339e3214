"""The table of the planners' record says what its raw rows say."""

import csv
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "2026-11-22-planners"
NAMES = {"rows and columns": "lines"}


def raw(chips):
    with (FOLDER / f"results_{chips}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(r["kind"], r["curve"], r["planner"]): r for r in rows}


def told(chips):
    """Rows of the table of one fleet size: kind, cost, greedy, best, saved, bound, gap."""
    text = (FOLDER / "README.md").read_text().split(f"| {chips:,} chips |")[1]
    lines = text.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def share(text):
    return float(text.removesuffix("%").strip()) / 100


def test_the_record_says_what_its_rows_say():
    rows, table = raw(100), told(100)
    assert len(table) == 12
    for kind, curve, greedy, best, saved, bound, gap in table:
        kind = NAMES.get(kind, kind)
        prices = {name: float(rows[kind, curve, name]["price"]) for name in ("greedy", "best")}
        row = rows[kind, curve, "best"]
        assert [greedy, best] == [f"{prices[name]:,.0f}" for name in ("greedy", "best")]
        assert share(saved) == pytest.approx(1 - prices["best"] / prices["greedy"], abs=6e-4)
        assert bound == f"{float(row['bound']):,.0f}"
        digits = 0.006 if "." not in gap else 0.0006
        assert share(gap) == pytest.approx(1 - float(row["bound"]) / prices["best"], abs=digits)
        assert float(row["gap"]) == pytest.approx(
            1 - float(row["bound"]) / prices["best"], abs=1e-4
        )
