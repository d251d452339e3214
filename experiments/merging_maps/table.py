"""The tables of merged maps, one per network, learning rate and rate of a map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.records import Row, markdown, read, signed, spread, where

COLLAPSED = 0.5
"""Test accuracy below which a training of ten classes counts as collapsed."""
WAYS = ("at once", "step by step")


def merge_table(rows: Sequence[Row]) -> str:
    """Lay out test accuracy by merged maps, both ways, how they compare, and what collapsed.

    A training that diverged has no accuracy and counts as collapsed.
    """
    counts = sorted({row["maps"] for row in rows}, key=int)
    columns = [where(rows, maps=count) for count in counts]
    lines = [["PEs masked, %", *(spread((float(r["union_rate"]) for r in c), 0) for c in columns)]]
    lines += [[way, *(spread(tests(column, way).values()) for column in columns)] for way in WAYS]
    lines.append(["step by step less at once", *(signed(gains(c)) for c in columns)])
    lines += [[f"{way}, collapsed", *(collapsed(c, way) for c in columns)] for way in WAYS]
    return markdown(["merged maps", *counts], lines)


def tests(rows: Sequence[Row], way: str) -> dict[str, float]:
    """Return test accuracy by seed, of the trainings that did not diverge."""
    return {row["seed"]: float(row["test"]) for row in where(rows, way=way) if row["test"]}


def gains(rows: Sequence[Row]) -> list[float]:
    """Return what step by step gains, seed by seed."""
    once, steps = (tests(rows, way) for way in WAYS)
    return [steps[seed] - once[seed] for seed in once if seed in steps]


def collapsed(rows: Sequence[Row], way: str) -> str:
    trainings = where(rows, way=way)
    died = sum(not row["test"] or float(row["test"]) < COLLAPSED for row in trainings)
    return f"{died} of {len(trainings)}"


def tables() -> list[str]:
    rows = read(Path(__file__).parent / "results.csv")
    kinds = dict.fromkeys((row["model"], row["lr"], row["map_rate"]) for row in rows)
    return [
        merge_table(where(rows, model=model, lr=lr, map_rate=rate)) for model, lr, rate in kinds
    ]
