"""Processor seconds of what the strategies are made of, as units of a campaign, interleaved."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from efat.campaign import job_factory, run_stages
from efat.hardware.fleets import draw_fault_map
from efat.seeds import generator
from efat.training import EvaluationJob, GramJob, repair_step, trainer
from experiments.less_retraining_images.run import add_arguments, open_job
from experiments.less_retraining_images.settings import JOBS, SETTINGS
from experiments.records import update

HERE = Path(__file__).parent
STEPS, RATE = 32, 0.15


TIMED = (
    "eFAT-style", "remap + compensate", "remap + compensate, sequential", "remap", "compensate",
    "recalibrate", "harden + recalibrate", "harden",
)  # fmt: skip


def pieces(args: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Return what to time: one unit of each kind, on a chip of 15 % faulty PEs."""
    timed: dict[str, Callable[[], object]] = {}
    for job in [job for job in TIMED if job in JOBS[args.setting]]:
        experiment, runner = open_job(args.setting, job, args)
        train = partial(trainer.train, store=runner.store)
        if experiment.hardening:
            start = run_stages(experiment, runner, until="pretrain").baseline.weights
            begun = replace(experiment.hardening, start=start, amount_steps=STEPS)
            timed["hardening"] = partial(trainer.harden, begun, store=runner.store)
            continue
        baseline = run_stages(experiment, runner, until="measure_grams").baseline
        fault_map = draw_fault_map(experiment.array, RATE, generator(0, "costs"))
        unit = job_factory.retraining_job(experiment, baseline, fault_map, 0)
        if job != "eFAT-style":
            timed[job] = partial(train, unit)
            continue
        setup, start = experiment.baseline_setup, baseline.weights
        measured = EvaluationJob(setup, start, experiment.array, (fault_map,))
        grams = GramJob(setup, start, experiment.recipe.samples, 0)
        timed |= {
            "unit": partial(train, unit),
            "steps": partial(train, replace(unit, amount_steps=STEPS)),
            "evaluation": partial(train, replace(unit, eval_every_steps=STEPS)),
            "verification": partial(trainer.evaluate, measured, runner.store),
            "calibration": partial(repair_step.measure_grams, grams, runner.store),
        }
    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="*", help="all by default; rows of others stay")
    args = parser.parse_args()
    torch.set_num_threads(1)
    timed = pieces(args)
    timed["unit"]()  # decodes the images
    seconds = defaultdict(list)
    for _ in range(args.rounds):
        for what in args.parts or timed:
            began = time.process_time()
            timed[what]()
            seconds[what].append(f"{time.process_time() - began:.4f}")
    for what, values in seconds.items():
        rows = [{"round": turn, "processor_s": value} for turn, value in enumerate(values)]
        update(HERE / "costs.csv", {"setting": args.setting, "what": what}, rows)
