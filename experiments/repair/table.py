"""A table for each setting: accuracy of each method on each fault map, by fault rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.records import Row, markdown, percent, read, where


def methods_table(rows: Sequence[Row]) -> str:
    rates = sorted({row["fault_rate"] for row in rows}, key=float)
    methods = dict.fromkeys(row["method"] for row in rows)
    lines = [
        [method.replace("|w|", "weight magnitude"), *(cell(rows, method, rate) for rate in rates)]
        for method in methods
    ]
    return markdown(["method", *map(percent, rates)], lines)


def cell(rows: Sequence[Row], method: str, rate: str) -> str:
    maps = where(rows, method=method, fault_rate=rate)
    return " / ".join(f"{float(row['test_pct']):.1f}" for row in maps) or "-"


def tables() -> list[str]:
    rows = [row for row in read(Path(__file__).parent / "results.csv") if row["map"]]
    settings = dict.fromkeys(row["setting"] for row in rows)
    return [methods_table(where(rows, setting=setting)) for setting in settings]
