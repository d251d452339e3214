"""The main job and its repaired variants, on three fleets: raw rows of costs and results.

python experiments/2026-11-22-less-retraining/run.py
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
JOBS = {
    "eFAT-style": ("+experiment=resnet_fat", "compare=[none,greedy,fixed,individual]"),
    "one-shot": ("+experiment=resnet_fat_best", "compare=[greedy,individual]"),
    "sequential": ("+experiment=resnet_fat_best", "recipe.mode=sequential", "compare=[]"),
}


def command(job: str, seed: int, out: Path) -> list[str]:
    where = [f"store={out / 'store'}", f"hydra.run.dir={out / job}-{seed}", "executor=serial"]
    return [sys.executable, "-m", "efat.run", *JOBS[job], f"seed={seed}", *where]


def collect(job: str, seed: int, folder: Path) -> tuple[list[dict], list[dict]]:
    """Return a row a strategy and a row a chip of a finished run."""
    summary = json.loads((folder / "summary.json").read_text())
    with (folder / "curves.csv").open(newline="") as file:
        curves = list(csv.DictReader(file))
    with (folder / "chips.csv").open(newline="") as file:
        chips = list(csv.DictReader(file))
    maps = Counter((row["fault_rate"], row["repeat"]) for row in curves)
    repaired = len(summary["recipe"]) > 1
    ended = until_met(curves, summary["targets"]["val"])
    analysis = {
        "analysis_curves": len(maps),
        "analysis_points": len(curves),
        "analysis_steps": summary["analysis"]["steps"],
        "ended_points": sum(points for points, _ in ended),
        "ended_steps": sum(steps for _, steps in ended),
        "analysis_repairs": len(maps) * repaired,
        "calibrations": int(repaired),
    }
    rows = [
        {
            "seed": seed,
            "job": job,
            "strategy": strategy["name"],
            "models": strategy["models"],
            "retrain_steps": strategy["retraining"]["steps"],
            "repairs": strategy["models"] * repaired,
            **(analysis if strategy["models"] else dict.fromkeys(analysis, 0)),
            "verified_chips": len(chips),
            **{n: strategy[n] for n in ("met_val", "met_test", "verified")},
            **{n: f"{strategy[n]:.6f}" for n in ("mean_test", "worst_test")},
            "unsalvageable": len(summary["unsalvageable"]),
            "target_test": f"{summary['targets']['test']:.6f}",
        }
        for strategy in summary["strategies"]
    ]
    names = ("chip_id", "fault_rate", "group", "fused_fault_rate", "amount_steps", "val_after",
             "test_after", "test_low", "status")  # fmt: skip
    return rows, [{"seed": seed, "job": job} | {n: row[n] for n in names} for row in chips]


def until_met(curves: list[dict], target: float) -> list[tuple[int, int]]:
    """Return points and steps of each curve up to its first crossing, as with `until_met`."""
    by_map: dict[tuple[str, str], list[dict]] = {}
    for row in curves:
        by_map.setdefault((row["fault_rate"], row["repeat"]), []).append(row)
    ended = []
    for rows in by_map.values():
        met = [float(row["val_metric"]) >= target for row in rows]
        last = met.index(True) if any(met) else len(met) - 1
        ended.append((last + 1, int(rows[last]["amount_steps"])))
    return ended


def write(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/less-retraining").absolute())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    results, chips = [], []
    for job in JOBS:
        for seed in args.seeds:
            folder = args.out / f"{job}-{seed}"
            if not (folder / "summary.json").exists():
                subprocess.run(command(job, seed, args.out), check=True)
            found = collect(job, seed, folder)
            results += found[0]
            chips += found[1]
    write(HERE / "results.csv", results)
    write(HERE / "chips.csv", chips)


if __name__ == "__main__":
    main()
