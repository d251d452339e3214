"""Draw a record's curves over the fault rates, as a run's `figures/fault_rates.png`.

python -m experiments.draw_rates RESULTS.csv RUN STEPS_PER_EPOCH TARGET OUT.png
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from efat.reporting.figures.fault_rates import draw_fault_rates
from efat.resilience import ResilienceCurve


def read_curves(results: Path, run: str) -> list[ResilienceCurve]:
    """Return the curves of one run from the raw rows of a record."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in csv.DictReader(results.open()):
        if row["run"] == run:
            found.setdefault((row["fault_rate"], row["repeat"]), []).append(row)
    return [
        ResilienceCurve(
            float(rate),
            int(repeat),
            float(rows[0]["severity"]),
            tuple(int(row["amount_steps"]) for row in rows),
            tuple(float(row["val_metric"]) for row in rows),
        )
        for (rate, repeat), rows in found.items()
    ]


if __name__ == "__main__":
    results, run, steps_per_epoch, target, out = sys.argv[1:]
    curves = read_curves(Path(results), run)
    draw_fault_rates(curves, int(steps_per_epoch), float(target)).savefig(out, dpi=100)
