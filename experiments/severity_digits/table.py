"""Rank correlations of the severity measures with the needed steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from efat.seeds import generator
from experiments.records import Row, markdown, read, where

MEASURES, NEEDED = ("array_rate", "weight_rate", "magnitude_rate", "taylor_rate"), "needed_steps"
LABELS = {"magnitude_rate": "saliency_rate, magnitude", "taylor_rate": "saliency_rate, Taylor"}


def correlations(rows: Sequence[Row], measure: str, chosen: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation for each line of chosen rows, [lines, rows] -> [lines]."""
    ranks = []
    for name in (measure, NEEDED):
        values = np.array([float(row[name]) for row in rows])[chosen]
        ranked = rankdata(values, axis=1)
        ranks.append(ranked - ranked.mean(axis=1, keepdims=True))
    squares = [(r**2).sum(axis=1) for r in ranks]
    return (ranks[0] * ranks[1]).sum(axis=1) / np.sqrt(squares[0] * squares[1])


def correlation(rows: Sequence[Row], measure: str) -> float:
    return float(correlations(rows, measure, np.arange(len(rows))[None])[0])


def interval(rows: Sequence[Row], measure: str) -> tuple[float, float]:
    """Return the 95 % interval of the lead over array_rate: chips drawn again, 2,000 times."""
    rng = generator(0, "bootstrap")
    chosen = np.stack([rng.integers(len(rows), size=len(rows)) for _ in range(2000)])
    leads = correlations(rows, measure, chosen) - correlations(rows, "array_rate", chosen)
    low, high = np.quantile(leads, [0.025, 0.975])
    return float(low), float(high)


def tables() -> list[str]:
    rows = read(Path(__file__).parent / "results.csv")
    settings = [where(rows, setting=name) for name in dict.fromkeys(r["setting"] for r in rows)]
    lines = []
    for measure in MEASURES:
        cells = [LABELS.get(measure, measure)]
        for chips in settings:
            lead = (
                ""
                if measure == "array_rate"
                else "{:+.3f} to {:+.3f}".format(*interval(chips, measure))
            )
            without = [row for row in chips if row["kind"] != "lines"]
            values = (correlation(some, measure) for some in (chips, without))
            cells += [*(f"{value:.3f}" for value in values), lead]
        lines.append(cells)
    names = ("16x16, width 16", "64x64, width 8")
    heads = [
        head
        for name in names
        for head in (f"{name}: rho", "without lines", "lead over array rate, 95 %")
    ]
    return [markdown(["measure", *heads], lines)]
