"""Analyses of digits, five sets of random maps a seed; and of other networks, one set a seed.

python experiments/2026-11-22-cheap-analysis/run.py --data ../shared/data
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


def analyse(
    network: str, seed: int, folder: Path, job: tuple[str, ...], args: argparse.Namespace
) -> None:
    """Run an analysis, unless it is there."""
    if (folder / "resilience_map.json").exists():
        return
    what = [argument.format(data=args.data) for argument in NETWORKS[network]]
    where = [f"store={args.out / 'store'}", f"hydra.run.dir={folder}", "executor=serial"]
    command = [sys.executable, "-m", "efat.run", *what, "stage=analyse", f"seed={seed}", *job]
    subprocess.run([*command, *where], check=True)


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


def crossings(network: str, seed: int, folder: Path) -> list[dict]:
    """Return a row a map: the steps to meet it 1, 2 and 3 evaluations in a row; empty: never."""
    target = json.loads((folder / "resilience_map.json").read_text())["target"]
    rows = []
    for curve in curves_of(folder):
        found = {k: curve.crossing(target, k) for k in (1, 2, 3)}
        rows.append(
            {
                "network": network,
                "seed": seed,
                "fault_rate": curve.fault_rate,
                "repeat": curve.repeat,
            }
            | {
                f"crossing_{k}": "" if steps == math.inf else int(steps)
                for k, steps in found.items()
            }
        )
    return rows


def run(network: str, seed: int, job: str, folder: Path) -> dict:
    """Return what an analysis measured, the map that it found, and what its units took."""
    curves = curves_of(folder)
    found = json.loads((folder / "resilience_map.json").read_text())
    with (folder / "units.csv").open(newline="") as file:
        units = [row for row in csv.DictReader(file) if row["stage"] == "analyse"]
    return {
        "network": network,
        "seed": seed,
        "job": job,
        "rates": " ".join(str(rate) for rate in sorted({c.fault_rate for c in curves})),
        "severities": " ".join(f"{severity:.9g}" for severity in found["severities"]),
        "amounts_steps": " ".join("inf" if a is None else f"{a:g}" for a in found["amounts_steps"]),
        "curves": len(curves),
        "steps": sum(c.amount_steps[-1] for c in curves),
        "evaluations": sum(len(c.amount_steps) for c in curves),
        "seconds": round(sum(float(unit["seconds"]) for unit in units), 3),
    }


def read(name: str) -> list[dict]:
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def write(name: str, rows: list[dict]) -> None:
    with (HERE / name).open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with fashion_mnist")
    parser.add_argument("--out", type=Path, default=Path("outputs/cheap-analysis").absolute())
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    args = parser.parse_args()
    whole, runs = (
        [row for row in read(name) if row["network"] not in args.networks]
        for name in ("crossings.csv", "runs.csv")
    )
    for network in args.networks:
        for seed in range(5 if network in DIGITS else 3):
            name = f"{network.replace(', ', ' ').replace(' ', '-')}-{seed}"
            folders = {job: args.out / f"{name}-{job}" for job in (*JOBS, "whole")}
            for job, arguments in JOBS.items():
                analyse(network, seed, folders[job], arguments, args)
                runs.append(run(network, seed, job, folders[job]))
            if network in DIGITS:
                more = (f"fault_rates.maps_per_rate={MAPS}",)
                analyse(network, seed, folders["whole"], more, args)
                whole += crossings(network, seed, folders["whole"])
    write("crossings.csv", whole)
    write("runs.csv", runs)


if __name__ == "__main__":
    main()
