"""The tables of Fashion-MNIST, one per network and learning rate of the retraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.records import Row, by_rate, markdown, rate_heads, read, where


def fap_fat_table(rows: Sequence[Row]) -> str:
    """Lay out test accuracy of FAP and FAP+T over fault rates, and the drops in points."""
    base = next(float(row["test_fap"]) for row in rows if float(row["fault_rate"]) == 0)
    drops = [
        {**row, **{name: base - float(row[f"test_{name}"]) for name in ("fap", "fat")}}
        for row in rows
    ]
    lines = [
        ["FAP", *by_rate(rows, "test_fap")],
        ["FAP+T", *by_rate(rows, "test_fat")],
        ["FAP: points lost", *by_rate(drops, "fap", 2)],
        ["FAP+T: points lost", *by_rate(drops, "fat", 2)],
    ]
    return markdown(["", *rate_heads(rows)], lines)


def tables() -> list[str]:
    rows = read(Path(__file__).parent / "results.csv")
    kinds = dict.fromkeys((row["model"], row["lr"]) for row in rows)
    return [fap_fat_table(where(rows, model=model, lr=lr)) for model, lr in kinds]
