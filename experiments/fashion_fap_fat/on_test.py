"""FAP and FAP+T on the test split, for the maps of the resilience analysis and for no fault at all.

The analysis reads validation alone and keeps no weights. Here its trainings are repeated (to the
bit: a training's seed hangs on its map), their weights kept and measured.

python .../on_test.py OUT.csv REPEATS +experiment=NAME key=value ...
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from efat.campaign import Experiment, stages
from efat.hardware import Chip, Fleet
from efat.hardware.fleets import draw_fault_map
from efat.io import write_csv
from efat.planning import Group, Plan
from efat.seeds import generator
from experiments.studies import open_study


def chips_of_analysis(experiment: Experiment, repeats: int) -> list[tuple[float, int, Chip]]:
    """Return (rate, repeat, chip) for the maps of `stages.analyse`, and one without fault."""
    points = [(0.0, 0)] + [(rate, i) for rate in experiment.fault_rates for i in range(repeats)]
    return [
        (rate, i, Chip(f"p{rate:.2f}-{i}", draw_fault_map(experiment.array, rate, stream)))
        for rate, i in points
        for stream in [generator(experiment.seed, "analyse", rate, i)]
    ]


def main(target: Path, repeats: int, arguments: list[str]) -> None:
    experiment, campaign = open_study(arguments)
    chips = chips_of_analysis(experiment, repeats)
    amount = experiment.amounts.budget_steps
    plan = Plan(tuple(Group((c.chip_id,), c.fault_map, amount) for _, _, c in chips), ())
    experiment = replace(experiment, fleet=Fleet(tuple(c for _, _, c in chips)))
    baseline = stages.pretrain(experiment, campaign)
    models = stages.retrain(experiment, campaign, baseline, {"fat": plan})
    found = stages.evaluate(experiment, campaign, baseline, models)
    rows = [
        {
            "model": arguments[0].rpartition("=")[2],
            "lr": experiment.retrain_setup.optimizer["lr"],
            "fault_rate": rate,
            "repeat": repeat,
            "fat_steps": amount,
            "val_fap": found.before[chip.chip_id].val,
            "val_fat": found.after["fat"][chip.chip_id].val,
            "test_fap": found.before[chip.chip_id].test,
            "test_fat": found.after["fat"][chip.chip_id].test,
        }
        for rate, repeat, chip in chips
    ]
    write_csv(target, rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
