"""FAP and FAP+T on the test split, for the maps of the resilience analysis and for no fault at all.

The analysis reads validation alone and keeps no weights. These trainings are the analysis' own (to
the bit: a training's seed hangs on its map), with weights kept and measured on test.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from efat.campaign import Experiment, stages
from efat.hardware import Chip, Fleet
from efat.hardware.fleets import draw_fault_map
from efat.planning import Group, Plan
from efat.seeds import generator
from experiments.records import write
from experiments.studies import open_study

HERE = Path(__file__).parent
RESNET8 = (
    "+experiment=fashion_mnist_resnet8", "training.budget_epochs=1",
    "training.eval_every_epochs=1",
)  # fmt: skip
RUNS = (
    (5, ("+experiment=mlp_vts18", "training.budget_epochs=3")),
    (5, (*RESNET8, "training.optimizer.lr=0.002")),
    (1, (*RESNET8, "fault_rates.rates=[0.1]")),
)
"""Maps per fault rate, and the arguments."""


def chips_of_analysis(experiment: Experiment, repeats: int) -> list[tuple[float, int, Chip]]:
    """Return (rate, repeat, chip) for the maps of the analysis, and one without fault."""
    points = [(0.0, 0)] + [(rate, i) for rate in experiment.fault_rates for i in range(repeats)]
    return [
        (rate, i, Chip(f"p{rate:.2f}-{i}", draw_fault_map(experiment.array, rate, stream)))
        for rate, i in points
        for stream in [generator(experiment.seed, "analyse", rate, i)]
    ]


def measure(repeats: int, arguments: Sequence[str]) -> list[dict[str, object]]:
    """Train every map for the whole budget; return a row per map."""
    experiment, runner = open_study(arguments)
    chips = chips_of_analysis(experiment, repeats)
    amount = experiment.amounts.budget_steps
    plan = Plan(tuple(Group((c.chip_id,), c.fault_map, amount) for _, _, c in chips), ())
    experiment = replace(experiment, fleet=Fleet(tuple(c for _, _, c in chips)))
    baseline = stages.pretrain(experiment, runner)
    models = stages.retrain(experiment, runner, baseline, {"fat": plan})
    measured = stages.evaluate(experiment, runner, baseline, models)
    return [
        {
            "model": arguments[0].rpartition("=")[2],
            "lr": experiment.retrain_setup.optimizer.arguments["lr"],
            "fault_rate": rate, "repeat": repeat, "fat_steps": amount,
            "val_fap": measured.before[chip.chip_id].val,
            "val_fat": measured.after["fat"][chip.chip_id].val,
            "test_fap": measured.before[chip.chip_id].test,
            "test_fat": measured.after["fat"][chip.chip_id].test,
        }
        for rate, repeat, chip in chips
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder: {train,test}.parquet")
    args = parser.parse_args()
    where = (f"data.path={args.data.absolute()}", "executor=serial")
    rows = [row for repeats, words in RUNS for row in measure(repeats, (*words, *where))]
    write(HERE / "results.csv", rows)
