"""Hardening and re-estimated BatchNorm on digits, no retraining: validation accuracy map by map."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from experiments.records import load, where, write
from experiments.studies import run_command

HERE = Path(__file__).parent
VARIANTS = {
    "masked": ("training.budget_epochs=0.25", "recipe.steps=[retrain]"),
    "recalibrate": ("recipe.steps=[recalibrate]",),
    "harden": ("training.budget_epochs=0.25", "recipe.steps=[harden,retrain]"),
    "harden, recalibrate": ("recipe.steps=[harden,recalibrate]",),
}
GRID = ("fault_rates.rates=[0.05,0.1,0.15,0.2,0.25]", "fault_rates.maps_per_rate=5")


def rows_of(recipe: str, seed: int, folder: Path) -> list[dict[str, object]]:
    """Return a row per fault map: the metric before any retraining, and the target accuracy."""
    target = json.loads((folder / "resilience_map.json").read_text())["target"]
    return [
        {
            "seed": seed, "recipe": recipe, "fault_rate": point["fault_rate"],
            "map": point["repeat"], "val": f"{float(point['val_metric']):.6f}",
            "target": f"{target:.6f}", "met": float(point["val_metric"]) >= target,
        }
        for point in where(load(folder / "curves.csv"), amount_steps="0")
    ]  # fmt: skip


def network_of(seed: int, folder: Path) -> dict[str, object]:
    """Return what hardening did to the network without faults, and what it took."""
    units = {row["stage"]: row for row in load(folder / "units.csv")}
    return {
        "seed": seed,
        "baseline_val": units["pretrain"]["result"],
        "hardened_val": units["harden"]["result"],
        "steps": units["harden"]["steps"],
        "baseline_steps": units["pretrain"]["steps"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/hardening").absolute())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    rows, networks = [], []
    for seed in args.seeds:
        for recipe, words in VARIANTS.items():
            folder = args.out / f"{recipe.replace(', ', '-')}-{seed}"
            what = ("+experiment=resnet_fat", "stage=analyse", *GRID, *words, f"seed={seed}")
            run_command(folder, *what)
            rows += rows_of(recipe, seed, folder)
        networks.append(network_of(seed, folder))
    write(HERE / "results.csv", rows)
    write(HERE / "networks.csv", networks)
