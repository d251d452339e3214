"""Analyses of digits, five sets of random maps per seed; and of other networks, one set a seed."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from efat.resilience import ResilienceCurve
from experiments.records import Row, load, where, write
from experiments.studies import run_command

HERE = Path(__file__).parent
MAPS = 25
"""Maps a rate of digits: five sets of the main job's five."""
SHORT = ("fault_rates.until_met=true", "fault_rates.search=bisect")
JOBS = {"grid": (), "short": SHORT, "limited": (*SHORT, "fault_rates.max_cost=0.25")}
"""What is run on the first set of maps."""
FASHION = (
    "data.path={data}/fashion_mnist", "fault_rates=grid", "selection.max_drop=0.01",
    "selection.interpolation=ceil",
)  # fmt: skip
NETWORKS = {
    "digits ResNet-8": ("+experiment=resnet_fat",),
    "digits ResNet-8, repaired": ("+experiment=resnet_fat_repair", "fault_rates.until_met=false"),
    "Fashion-MNIST MLP": (
        "+experiment=mlp_vts18", *FASHION, "training.budget_epochs=1",
        "training.eval_every_epochs=0.0909091",
    ),
    "Fashion-MNIST ResNet-8": (
        "+experiment=fashion_mnist_resnet8", *FASHION, "data.train_size=10000",
        "data.val_size=2000", "baseline.epochs=16", "baseline.scheduler.gamma=0.997",
        "fault_rates.maps_per_rate=3", "training.optimizer.lr=0.002",
        "training.budget_epochs=2", "training.eval_every_epochs=0.2051282",
    ),
}  # fmt: skip
"""Arguments of `efat.run`; budgets and intervals in steps: 96 and 8, 429 and 39, 156 and 16."""
DIGITS = ("digits ResNet-8", "digits ResNet-8, repaired")
"""Analysed with five seeds, and with all maps of a seed; the others with three seeds."""


def curves_of(folder: Path) -> list[ResilienceCurve]:
    points: dict[tuple[float, int], list[tuple[int, float]]] = {}
    for row in load(folder / "curves.csv"):
        key = float(row["fault_rate"]), int(row["repeat"])
        points.setdefault(key, []).append((int(row["amount_steps"]), float(row["val_metric"])))
    return [
        ResilienceCurve(rate, repeat, rate, *map(tuple, zip(*curve, strict=True)))
        for (rate, repeat), curve in points.items()
    ]


def crossings(network: str, seed: int, folder: Path) -> list[dict[str, object]]:
    """Return a row per map: the steps to meet it 1, 2 and 3 evaluations in a row; empty: never."""
    target, rows = json.loads((folder / "resilience_map.json").read_text())["target"], []
    for curve in curves_of(folder):
        key = {"network": network, "seed": seed, "fault_rate": curve.fault_rate}
        steps = {f"crossing_{k}": curve.crossing(target, k) for k in (1, 2, 3)}
        cells = {name: "" if value == math.inf else int(value) for name, value in steps.items()}
        rows.append(key | {"repeat": curve.repeat} | cells)
    return rows


def run(network: str, seed: int, job: str, folder: Path) -> dict[str, object]:
    """Return what an analysis measured, its map, and what its units took."""
    curves = curves_of(folder)
    resilience_map = json.loads((folder / "resilience_map.json").read_text())
    units: list[Row] = where(load(folder / "units.csv"), stage="analyse")
    return {
        "network": network,
        "seed": seed,
        "job": job,
        "rates": " ".join(str(rate) for rate in sorted({c.fault_rate for c in curves})),
        "severities": " ".join(f"{severity:.9g}" for severity in resilience_map["severities"]),
        "amounts_steps": " ".join(
            "inf" if a is None else f"{a:g}" for a in resilience_map["amounts_steps"]
        ),
        "curves": len(curves),
        "steps": sum(c.amount_steps[-1] for c in curves),
        "evaluations": sum(len(c.amount_steps) for c in curves),
        "seconds": round(sum(float(unit["seconds"]) for unit in units), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with fashion_mnist")
    parser.add_argument("--out", type=Path, default=Path("outputs/cheap-analysis").absolute())
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    args = parser.parse_args()
    whole, runs = (
        [row for row in load(HERE / name) if row["network"] not in args.networks]
        for name in ("crossings.csv.gz", "runs.csv")
    )
    for network in args.networks:
        jobs = JOBS | (
            {"whole": (f"fault_rates.maps_per_rate={MAPS}",)} if network in DIGITS else {}
        )
        what = [argument.format(data=args.data.absolute()) for argument in NETWORKS[network]]
        for seed in range(5 if network in DIGITS else 3):
            name = f"{network.replace(', ', ' ').replace(' ', '-')}-{seed}"
            for job, words in jobs.items():
                folder = args.out / f"{name}-{job}"
                run_command(folder, *what, "stage=analyse", f"seed={seed}", *words)
                if job == "whole":
                    whole += crossings(network, seed, folder)
                else:
                    runs.append(run(network, seed, job, folder))
    write(HERE / "crossings.csv.gz", whole)
    write(HERE / "runs.csv", runs)
