"""Rank correlations of results.csv: python experiments/2026-11-22-severity-digits/analyse.py."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from efat.seeds import generator

HERE = Path(__file__).parent
MEASURES = ("array_rate", "weight_rate", "magnitude_rate", "taylor_rate")
NEVER = 201
COLOURS = {"uniform": "#1d4ed8", "clustered": "#b3261e", "blocks": "#b45309", "lines": "#0f766e"}


def correlation(rows: list[dict[str, str]], measure: str) -> float:
    severity = [float(row[measure]) for row in rows]
    return float(spearmanr(severity, [int(row["needed_steps"]) for row in rows]).statistic)


def interval(rows: list[dict[str, str]], measure: str) -> tuple[float, float]:
    """Return the 95 % interval of the lead over array_rate: chips drawn again, 2,000 times."""
    rng = generator(0, "bootstrap")
    leads = []
    for _ in range(2000):
        drawn = [rows[i] for i in rng.integers(len(rows), size=len(rows))]
        leads.append(correlation(drawn, measure) - correlation(drawn, "array_rate"))
    low, high = np.quantile(leads, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    with (HERE / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    for setting in settings:
        here = [row for row in rows if row["setting"] == setting]
        never = sum(int(row["needed_steps"]) == NEVER for row in here)
        print(f"{setting}: {len(here)} chips, {never} never reach the target")
        for name, chosen in (
            ("all", here),
            ("no lines", [row for row in here if row["kind"] != "lines"]),
        ):
            for measure in MEASURES:
                low, high = interval(chosen, measure)
                print(
                    f"  {name:8s} {measure:15s} rho {correlation(chosen, measure):.3f}  "
                    f"lead over array_rate 95 % {low:+.3f} to {high:+.3f}"
                )
    figure = Figure(figsize=(9.5, 6), layout="constrained")
    axes = figure.subplots(len(settings), 4, sharex="col", sharey=True)
    for line, setting in zip(axes, settings, strict=True):
        for axis, measure in zip(line, MEASURES, strict=True):
            for kind, colour in COLOURS.items():
                chosen = [r for r in rows if r["setting"] == setting and r["kind"] == kind]
                x = [float(row[measure]) for row in chosen]
                y = [int(row["needed_steps"]) for row in chosen]
                axis.plot(x, y, "o", ms=3.5, color=colour, alpha=0.7, label=kind)
            rho = correlation([r for r in rows if r["setting"] == setting], measure)
            axis.set_title(f"{measure}: rho {rho:.2f}", fontsize=9)
            axis.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel(f"{setting}\nneeded steps (201: never)", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("severity", fontsize=8)
    axes[0][0].legend(frameon=False, fontsize=7)
    figure.savefig(HERE / "severity.png", dpi=150, facecolor="white")


if __name__ == "__main__":
    main()
