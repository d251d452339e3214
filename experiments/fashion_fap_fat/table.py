"""The tables of Fashion-MNIST, one a network and learning rate of the retraining, from raw rows.

python experiments/2026-11-22-fashion-fap-fat/table.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.record_tables import Lines, Row, by_rate, print_tables, rate_heads, read, table


def fap_fat_table(rows: Sequence[Row]) -> Lines:
    """Return test accuracy of FAP and FAP+T over fault rates, and the drops in points."""
    base = next(float(row["test_fap"]) for row in rows if float(row["fault_rate"]) == 0)
    dropped = [
        {**row, "fap": base - float(row["test_fap"]), "fat": base - float(row["test_fat"])}
        for row in rows
    ]
    lines = [
        ["FAP", *by_rate(rows, "test_fap")],
        ["FAP+T", *by_rate(rows, "test_fat")],
        ["FAP: points lost", *by_rate(dropped, "fap", 2)],
        ["FAP+T: points lost", *by_rate(dropped, "fat", 2)],
    ]
    return table(["", *rate_heads(rows)], lines)


def tables() -> list[Lines]:
    """Return all tables of the page, as lines."""
    rows = read(Path(__file__).parent.name, "results.csv")
    kinds = dict.fromkeys((row["model"], row["lr"]) for row in rows)
    return [fap_fat_table([r for r in rows if (r["model"], r["lr"]) == kind]) for kind in kinds]


if __name__ == "__main__":
    print_tables(tables())
