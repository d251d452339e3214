"""Mean accuracy with stuck and with bypassed PEs, by condition and number of faulty PEs."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from experiments.records import markdown, read, where

LABELS = {
    "high bits, whole array": "high bits, whole array",
    "high bits, columns the network uses": "high bits, used columns",
    "low bits, columns the network uses": "low bits, used columns",
}


def tables() -> list[str]:
    rows, lines = read(Path(__file__).parent / "results.csv"), []
    for count in dict.fromkeys(row["faulty_pes"] for row in rows):
        cells = []
        for condition in LABELS:
            chips = where(rows, condition=condition, faulty_pes=count)
            means = (mean(float(c[f"{k}_pct"]) for c in chips) for k in ("stuck", "bypassed"))
            cells.append(" / ".join(f"{value:.1f}" for value in means))
        lines.append([count, *cells])
    heads = [f"{label}: stuck / bypassed" for label in LABELS.values()]
    return [markdown(["faulty PEs", *heads], lines)]
