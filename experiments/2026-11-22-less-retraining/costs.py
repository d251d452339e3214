"""Processor seconds of what the strategies are made of, as units of a campaign, interleaved.

python experiments/2026-11-22-less-retraining/costs.py --store outputs/less-retraining/store
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path

import torch

from efat import fit, mending, stages, trainings
from efat.campaign import Campaign
from efat.executors.serial import Serial
from efat.fleets import uniform_fleet
from efat.jobs import CalibrationJob, EvaluationJob
from efat.overrides import compose_jobs
from efat.preflight import build_experiment
from efat.store import Store

HERE = Path(__file__).parent
ROUNDS = 5


class Quiet:
    running = 0

    def __getattr__(self, _: str):
        return lambda *_: None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(args.store)
    jobs = {}
    for mode in ("one_shot", "sequential"):
        (cfg,) = compose_jobs(
            ["+experiment=resnet_fat_best", f"recipe.mode={mode}", f"store={args.store}"]
        )
        experiment = build_experiment(cfg)
        campaign = Campaign(store, Serial(), Quiet())
        baseline = stages.pretrain(experiment, campaign)
        baseline = stages.calibrate(experiment, campaign, baseline)
        (chip,) = uniform_fleet(experiment.array, 0, 1, 0.15).chips
        jobs[mode] = trainings.retraining_job(experiment, baseline, chip.fault_map, 0)
    plain = replace(jobs["one_shot"], repair=None)
    setup, start = plain.setup, plain.start
    maps = (chip.fault_map,)
    timed = {
        "unit": lambda: fit.train(plain, store),
        "96 steps": lambda: fit.train(replace(plain, amount_steps=96), store),
        "evaluation": lambda: fit.train(replace(plain, eval_every_steps=96), store),
        "one-shot": lambda: fit.train(jobs["one_shot"], store),
        "sequential": lambda: fit.train(jobs["sequential"], store),
        "calibration": lambda: mending.calibrate(CalibrationJob(setup, start, 1024, 0), store),
        "verification": lambda: fit.evaluate(
            EvaluationJob(setup, start, experiment.array, maps * 5), store
        ),
    }
    with (HERE / "costs.csv").open("w", newline="") as file:
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
