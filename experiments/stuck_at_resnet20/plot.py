"""Draw results.csv: python experiments/2026-11-22-stuck-at-resnet20/plot.py."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).parent
STUCK, BYPASSED, INK = "#b3261e", "#0f766e", "#1f2937"


def main() -> None:
    with (HERE / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axis, condition in zip(
        figure.subplots(1, len(conditions), sharey=True), conditions, strict=True
    ):
        here = [row for row in rows if row["condition"] == condition]
        counts = sorted({int(row["faulty_pes"]) for row in here})
        for kind, colour, shift in (("stuck", STUCK, -0.12), ("bypassed", BYPASSED, 0.12)):
            seeds = [int(row["seed"]) for row in here]
            x = [
                counts.index(int(row["faulty_pes"])) + shift + 0.02 * (seed - max(seeds) / 2)
                for row, seed in zip(here, seeds, strict=True)
            ]
            y = [float(row[f"{kind}_pct"]) for row in here]
            axis.plot(x, y, "o", color=colour, ms=5, alpha=0.75, label=kind)
        healthy = float(here[0]["healthy_int8_pct"])
        axis.axhline(healthy, color=INK, lw=0.8, ls=":", label=f"healthy, int8: {healthy:.1f} %")
        axis.axhline(10, color=INK, lw=0.8, ls="--", label="guessing: 10 %")
        axis.set_xticks(range(len(counts)), counts)
        axis.set(title=condition, xlabel="faulty PEs of 65,536", ylim=(0, 100))
        axis.title.set_fontsize(10)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("accuracy, % of 1,000 test images")
    figure.axes[-1].legend(frameon=False, loc="center", fontsize=8)
    figure.savefig(HERE / "accuracy.png", dpi=160, facecolor="white")


if __name__ == "__main__":
    main()
