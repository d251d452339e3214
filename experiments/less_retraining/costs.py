"""Processor seconds of what the strategies are made of, as units of a campaign, interleaved.

python experiments/2026-11-22-less-retraining/costs.py --store outputs/less-retraining/store
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from efat.campaign import job_factory, stages
from efat.config import compose_jobs
from efat.config.build import build_experiment
from efat.engine import Store, UnitRunner
from efat.engine.executors import Serial
from efat.hardware.fleets import uniform_fleet
from efat.training import EvaluationJob, GramJob, TrainingJob, repair_step, trainer

HERE = Path(__file__).parent
ROUNDS = 5
Timed = dict[str, Callable[[], object]]


class Quiet:
    running = 0

    def __getattr__(self, _: str):
        return lambda *_: None


def repair_job(store: Store, *words: str) -> TrainingJob:
    """Return the unit that repairs a chip of 15 % and trains nothing."""
    (cfg,) = compose_jobs(["+experiment=resnet_fat_repair", *words, f"store={store.root}"])
    experiment, campaign = build_experiment(cfg), UnitRunner(store, Serial(), Quiet())
    baseline = stages.pretrain(experiment, campaign)
    baseline = stages.measure_grams(experiment, campaign, baseline)
    (chip,) = uniform_fleet(experiment.array, 0, 1, 0.15).chips
    return job_factory.retraining_job(experiment, baseline, chip.fault_map, 0)


def parts(store: Store) -> Timed:
    """Return what the strategies are made of."""
    jobs = {
        "one-shot": repair_job(store),
        "sequential": repair_job(store, "recipe.mode=sequential"),
        "rows": repair_job(store, "recipe.remap=rows_and_columns"),
        "compensate": repair_job(store, "recipe=compensate"),
        "recalibrate": repair_job(store, "recipe=recalibrate"),
    }
    plain = replace(jobs["one-shot"], repair=None)
    setup, start, array, maps = plain.setup, plain.start, plain.array, (plain.fault_map,)
    (cfg,) = compose_jobs(["+experiment=resnet_fat", "recipe=harden", f"store={store.root}"])
    hardening = build_experiment(cfg).hardening
    assert hardening is not None  # noqa: S101 - the recipe hardens
    harden = replace(hardening, start=start, amount_steps=96)
    return {
        "unit": lambda: trainer.train(plain, store),
        "96 steps": lambda: trainer.train(replace(plain, amount_steps=96), store),
        "evaluation": lambda: trainer.train(replace(plain, eval_every_steps=96), store),
        **{name: lambda job=job: trainer.train(job, store) for name, job in jobs.items()},
        "96 steps of hardening": lambda: trainer.train(harden, store),
        "calibration": lambda: repair_step.measure_grams(GramJob(setup, start, 1024, 0), store),
        "verification": lambda: trainer.evaluate(
            EvaluationJob(setup, start, array, maps * 5), store
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--file", default="costs.csv", help="seeds_costs.csv: of the ten seeds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(args.store)
    timed = parts(store)
    with (HERE / args.file).open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("round", "what", "processor_s"))
        for turn in range(-1, ROUNDS):  # the first is a warm-up
            for what, run in timed.items():
                began = time.process_time()
                run()
                if turn >= 0:
                    rows.writerow((turn, what, f"{time.process_time() - began:.4f}"))


if __name__ == "__main__":
    main()
