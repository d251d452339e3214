"""A table for each setting: accuracy of each method on each map, by fault rate; from raw rows.

python experiments/2026-11-22-repair/table.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from efat.reporting.html.report_markdown import markdown_table
from experiments.record_tables import Lines, Row, percent, print_tables, read


def _by_method(rows: Sequence[Row]) -> Lines:
    rates = sorted({float(row["fault_rate"]) for row in rows})
    found: dict[str, dict[float, list[str]]] = {}
    for row in rows:
        cells = found.setdefault(row["method"].replace("|w|", "weight magnitude"), {})
        cells.setdefault(float(row["fault_rate"]), []).append(f"{float(row['test_pct']):.1f}")
    lines = [
        [method, *(" / ".join(cells.get(rate, ["-"])) for rate in rates)]
        for method, cells in found.items()
    ]
    return markdown_table(["method", *map(percent, rates)], lines).split("\n")


def tables() -> list[Lines]:
    """Return all tables of the page, as lines."""
    rows = [row for row in read(Path(__file__).parent.name, "results.csv") if row["map"]]
    return [
        _by_method([row for row in rows if row["setting"] == setting])
        for setting in dict.fromkeys(row["setting"] for row in rows)
    ]


if __name__ == "__main__":
    print_tables(tables())
