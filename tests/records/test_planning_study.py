"""The tables of the planners' record are what its raw rows give."""

import csv
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "2026-11-22-planners"


def test_the_tables_of_the_record_are_those_of_its_rows():
    script, text = runpy.run_path(str(FOLDER / "table.py")), (FOLDER / "README.md").read_text()
    for table in script["tables"]():
        assert table in text


@pytest.mark.parametrize("path", sorted(FOLDER.glob("re*_*.csv")), ids=lambda path: path.name)
def test_gaps_of_the_record_are_those_of_price_and_bound(path):
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["bound"]]
    assert rows
    for row in rows:
        price, bound = float(row["price"]), float(row["bound"])
        assert bound <= price
        assert float(row["gap"]) == pytest.approx(1 - bound / price if price else 0.0, abs=1e-4)
