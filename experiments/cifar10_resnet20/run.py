"""Curves and fleets of the published ResNet-20 on CIFAR-10; and the figures of the page."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from efat.reporting.figures.resilience import plot_fault_rates
from efat.resilience import ResilienceCurve
from experiments.records import load, read, where, write
from experiments.studies import curve_rows, run_command

HERE = Path(__file__).parent
RETRAINED = ("training.budget_epochs=0.8", "training.eval_every_epochs=0.2")
REESTIMATED = (
    "training=reestimate_bn", "training.frozen=[conv1,bn1,layer1,layer2,layer3]",
    "training.budget_epochs=0.5", "training.eval_every_epochs=0.5",
)  # fmt: skip
FP32 = ("trainer=cpu", "fault_rates.rates=[0.1,0.3]", "fault_rates.maps_per_rate=1")
CURVES = {
    "64x64 BatchNorm": REESTIMATED,
    "64x64 retrained": RETRAINED,
    "64x64 retrained, fp32": (*RETRAINED, *FP32),
    "256x256 BatchNorm": (*REESTIMATED, "array=ws_256"),
    "256x256 retrained": (*RETRAINED, "array=ws_256"),
}
"""Arguments by the name of a run, which is the first column of `results.csv`."""
CHIPS = (
    *RETRAINED, "planner=greedy", "fault_rates.rates=[0.05,0.1]", "selection.max_drop=0.04",
    "selection.interpolation=ceil", "fleet.fault_rate=[0.01,0.1]", "compare=[none]",
)  # fmt: skip
FLEETS = {"64x64": CHIPS, "256x256": (*CHIPS, "array=ws_256")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder: {train,test}.parquet")
    parser.add_argument("--weights", type=Path, required=True, help="resnet20-12fca82f.th")
    parser.add_argument("--out", type=Path, default=Path("outputs/cifar10-resnet20").absolute())
    args = parser.parse_args()
    network = (
        "+experiment=cifar10_resnet20", f"data.path={args.data.absolute()}",
        f"baseline.checkpoint={args.weights.absolute()}",
    )  # fmt: skip
    folders = {run: args.out / run.replace(", ", "-").replace(" ", "-") for run in CURVES}
    for run, words in CURVES.items():
        run_command(folders[run], *network, "stage=analyse", *words)
    rows = [row for run in CURVES for row in curve_rows(folders[run], run)]
    write(HERE / "results.csv", rows)
    chips = []
    for array, words in FLEETS.items():
        run_command(args.out / f"chips-{array}", *network, *words)
        chips += [{"array": array, **r} for r in load(args.out / f"chips-{array}" / "chips.csv")]
    write(HERE / "chips.csv.gz", chips)
    shutil.copy(args.out / "chips-64x64/figures/resilience_map.png", HERE)
    draw(HERE / "results.csv", "64x64 retrained", 78, 0.8705, HERE / "fault_rates.png")


def draw(results: Path, run: str, steps_per_epoch: int, target: float, out: Path) -> None:
    """Draw a run's curves over the fault rates, as the `figures/fault_rates.png` of a campaign."""
    rows = where(read(results), run=run)
    curves = []
    for rate, repeat in dict.fromkeys((row["fault_rate"], row["repeat"]) for row in rows):
        points = where(rows, fault_rate=rate, repeat=repeat)
        steps = tuple(int(row["amount_steps"]) for row in points)
        metric = tuple(float(row["val_metric"]) for row in points)
        severity = float(points[0]["severity"])
        curves.append(ResilienceCurve(float(rate), int(repeat), severity, steps, metric))
    plot_fault_rates(curves, steps_per_epoch, target).savefig(out, dpi=100)
