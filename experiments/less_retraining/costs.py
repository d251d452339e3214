"""Processor seconds of what the strategies are made of, as units of a campaign, interleaved."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from efat.campaign import job_factory, run_stages
from efat.engine import Store
from efat.hardware.fleets import uniform_fleet
from efat.training import EvaluationJob, GramJob, TrainingJob, repair_step, trainer
from experiments.records import write
from experiments.studies import open_study

HERE = Path(__file__).parent
ROUNDS = 5
RECIPES = {
    "one-shot": (),
    "sequential": ("recipe.mode=sequential",),
    "rows": ("recipe.remap=rows_and_columns",),
    "compensate": ("recipe=compensate",),
    "recalibrate": ("recipe=recalibrate",),
}


def repair_job(store: Store, *words: str) -> TrainingJob:
    """Return the unit that repairs a chip of 15 % and trains nothing."""
    where = (f"store={store.root}", "executor=serial")
    experiment, runner = open_study(["+experiment=resnet_fat_repair", *words, *where])
    state = run_stages(experiment, runner, until="measure_grams")
    (chip,) = uniform_fleet(experiment.array, 0, 1, 0.15).chips
    return job_factory.retraining_job(experiment, state.baseline, chip.fault_map, 0)


def parts(store: Store) -> dict[str, Callable[[], object]]:
    """Return what the strategies are made of."""
    jobs = {name: repair_job(store, *words) for name, words in RECIPES.items()}
    plain = replace(jobs["one-shot"], repair=None)
    setup, start, array, maps = plain.setup, plain.start, plain.array, (plain.fault_map,)
    hardened, _ = open_study(["+experiment=resnet_fat", "recipe=harden", f"store={store.root}"])
    harden = replace(hardened.hardening, start=start, amount_steps=96)
    trained = {
        "unit": plain,
        "96 steps": replace(plain, amount_steps=96),
        "evaluation": replace(plain, eval_every_steps=96),
        **jobs,
    }
    grams, verified = GramJob(setup, start, 1024, 0), EvaluationJob(setup, start, array, maps * 5)
    return {
        **{name: partial(trainer.train, job, store) for name, job in trained.items()},
        "96 steps of hardening": partial(trainer.harden, harden, store),
        "calibration": partial(repair_step.measure_grams, grams, store),
        "verification": partial(trainer.evaluate, verified, store),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    out = Path("outputs/less-retraining/store").absolute()
    parser.add_argument("--store", type=Path, default=out)
    parser.add_argument("--file", default="costs.csv", help="seeds_costs.csv: of the ten seeds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    timed, rows = parts(Store(args.store)), []
    for turn in range(-1, ROUNDS):  # the first is a warm-up
        for what, run in timed.items():
            began = time.process_time()
            run()
            taken = f"{time.process_time() - began:.4f}"
            rows += [{"round": turn, "what": what, "processor_s": taken}] * (turn >= 0)
    write(HERE / args.file, rows)
