"""Whole analyses with five sets of random maps a seed, and short ones of the first set.

python experiments/2026-11-22-cheap-analysis/run.py
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
from pathlib import Path

from efat.resilience import ResilienceCurve

HERE = Path(__file__).parent
MAPS = 25
"""Maps a rate: five sets of the main job's five."""
JOBS = {
    "whole": (f"fault_rates.maps_per_rate={MAPS}",),
    "short": ("fault_rates.until_met=true", "fault_rates.search=bisect"),
}


def command(job: str, seed: int, out: Path) -> list[str]:
    where = [f"store={out / 'store'}", f"hydra.run.dir={out / job}-{seed}", "executor=serial"]
    what = ["+experiment=resnet_fat", "stage=analyse", f"seed={seed}", *JOBS[job]]
    return [sys.executable, "-m", "efat.run", *what, *where]


def curves_of(folder: Path) -> list[ResilienceCurve]:
    points: dict[tuple[float, int], list[tuple[int, float]]] = {}
    with (folder / "curves.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            key = float(row["fault_rate"]), int(row["repeat"])
            points.setdefault(key, []).append((int(row["amount_steps"]), float(row["val_metric"])))
    return [
        ResilienceCurve(rate, repeat, rate, *map(tuple, zip(*curve, strict=True)))
        for (rate, repeat), curve in points.items()
    ]


def crossings(seed: int, folder: Path) -> list[dict]:
    """Return a row a map: the steps to meet it 1, 2 and 3 evaluations in a row; empty: never."""
    target = json.loads((folder / "resilience_map.json").read_text())["target"]
    rows = []
    for curve in curves_of(folder):
        found = {k: curve.crossing(target, k) for k in (1, 2, 3)}
        rows.append(
            {"seed": seed, "fault_rate": curve.fault_rate, "repeat": curve.repeat}
            | {
                f"crossing_{k}": "" if steps == math.inf else int(steps)
                for k, steps in found.items()
            }
        )
    return rows


def short(seed: int, folder: Path) -> dict:
    """Return what the short analysis measured, and the amounts that it found."""
    curves = curves_of(folder)
    amounts = json.loads((folder / "resilience_map.json").read_text())["amounts_steps"]
    return {
        "seed": seed,
        "rates": " ".join(str(rate) for rate in sorted({c.fault_rate for c in curves})),
        "amounts_steps": " ".join("inf" if a is None else f"{a:g}" for a in amounts),
        "curves": len(curves),
        "steps": sum(c.amount_steps[-1] for c in curves),
        "evaluations": sum(len(c.amount_steps) for c in curves),
    }


def write(name: str, rows: list[dict]) -> None:
    with (HERE / name).open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/cheap-analysis").absolute())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    whole, runs = [], []
    for seed in args.seeds:
        for job in JOBS:
            folder = args.out / f"{job}-{seed}"
            if not (folder / "resilience_map.json").exists():
                subprocess.run(command(job, seed, args.out), check=True)
        whole += crossings(seed, args.out / f"whole-{seed}")
        runs.append(short(seed, args.out / f"short-{seed}"))
    write("crossings.csv", whole)
    write("runs.csv", runs)


if __name__ == "__main__":
    main()
