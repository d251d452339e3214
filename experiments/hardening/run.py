"""Hardening and re-estimated BatchNorm on digits, no retraining: validation accuracy map by map.

python experiments/2026-11-22-hardening/run.py [--seeds 0 1 2] [--out outputs/hardening]
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from efat.io import write_csv

HERE = Path(__file__).parent

VARIANTS = {
    "masked": ["training.budget_epochs=0.25", "recipe.steps=[retrain]"],
    "recalibrate": ["recipe.steps=[recalibrate]"],
    "harden": ["training.budget_epochs=0.25", "recipe.steps=[harden,retrain]"],
    "harden, recalibrate": ["recipe.steps=[harden,recalibrate]"],
}
GRID = ["fault_rates.rates=[0.05,0.1,0.15,0.2,0.25]", "fault_rates.maps_per_rate=5"]


def rows_of(variant: str, seed: int, folder: Path) -> list[dict]:
    """Return a row a fault map: the metric before any retraining, and what is asked."""
    target = json.loads((folder / "resilience_map.json").read_text())["target"]
    with (folder / "curves.csv").open(newline="") as file:
        points = [row for row in csv.DictReader(file) if row["amount_steps"] == "0"]
    return [
        {
            "seed": seed,
            "recipe": variant,
            "fault_rate": point["fault_rate"],
            "map": point["repeat"],
            "val": f"{float(point['val_metric']):.6f}",
            "target": f"{target:.6f}",
            "met": float(point["val_metric"]) >= target,
        }
        for point in points
    ]


def networks_of(seed: int, folder: Path) -> dict:
    """Return what hardening did to the network without faults, and what it took."""
    units = list(csv.DictReader((folder / "units.csv").open(newline="")))
    found = {row["stage"]: row for row in units if row["stage"] in ("pretrain", "harden")}
    return {
        "seed": seed,
        "baseline_val": found["pretrain"]["result"],
        "hardened_val": found["harden"]["result"],
        "steps": found["harden"]["steps"],
        "baseline_steps": found["pretrain"]["steps"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/hardening"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    out = args.out
    rows, networks = [], []
    for seed in args.seeds:
        for variant, words in VARIANTS.items():
            folder = out / f"{variant.replace(', ', '-')}-{seed}"
            where = [f"store={out / 'store'}", f"hydra.run.dir={folder}", "executor=serial"]
            command = ["-m", "efat.run", "+experiment=resnet_fat", "stage=analyse", *GRID, *words]
            subprocess.run([sys.executable, *command, f"seed={seed}", *where], check=True)
            rows += rows_of(variant, seed, folder)
        networks.append(networks_of(seed, folder))
    write_csv(HERE / "results.csv", rows)
    write_csv(HERE / "networks.csv", networks)


if __name__ == "__main__":
    main()
