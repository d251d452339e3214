"""The tables of merged maps, one a network, learning rate and rate of a map, from raw rows.

python experiments/2026-11-22-merging-maps/table.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.record_tables import Lines, Row, print_tables, read, signed, spread, table

COLLAPSED = 0.5
"""Test accuracy below which a training of ten classes is said to have collapsed."""


def merge_table(rows: Sequence[Row]) -> Lines:
    """Return test accuracy by merged maps, both ways, how they compare, and what collapsed.

    A training that diverged has no accuracy and counts as collapsed.
    """
    counts = sorted({int(row["maps"]) for row in rows})
    columns = [[row for row in rows if int(row["maps"]) == count] for count in counts]
    ways = ("at once", "step by step")
    lines = [["PEs masked, %", *(spread((float(r["union_rate"]) for r in c), 0) for c in columns)]]
    lines += [[way, *(spread(_tests(column, way).values()) for column in columns)] for way in ways]
    lines.append(["step by step less at once", *(signed(_way_gains(c)) for c in columns)])
    lines += [[f"{way}, collapsed", *(_collapsed(c, way) for c in columns)] for way in ways]
    return table(["merged maps", *map(str, counts)], lines)


def _tests(rows: Sequence[Row], way: str) -> dict[str, float]:
    """Return test accuracy by seed, of the trainings that did not diverge."""
    return {r["seed"]: float(r["test"]) for r in rows if r["way"] == way and r["test"]}


def _way_gains(rows: Sequence[Row]) -> list[float]:
    """Return what step by step gains, seed by seed."""
    once, steps = _tests(rows, "at once"), _tests(rows, "step by step")
    return [steps[seed] - once[seed] for seed in once if seed in steps]


def _collapsed(rows: Sequence[Row], way: str) -> str:
    of = [row for row in rows if row["way"] == way]
    lost = sum(not row["test"] or float(row["test"]) < COLLAPSED for row in of)
    return f"{lost} of {len(of)}"


def tables() -> list[Lines]:
    """Return all tables of the page, as lines."""
    rows = read(Path(__file__).parent.name, "results.csv")
    kinds = dict.fromkeys((row["model"], row["lr"], row["map_rate"]) for row in rows)
    return [
        merge_table([r for r in rows if (r["model"], r["lr"], r["map_rate"]) == kind])
        for kind in kinds
    ]


if __name__ == "__main__":
    print_tables(tables())
