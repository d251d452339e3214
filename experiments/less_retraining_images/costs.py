"""Processor seconds of what the strategies are made of, as units of a campaign, interleaved.

python experiments/2026-11-22-less-retraining-images/costs.py SETTING --data FOLDER [--out ...]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from efat.campaign import stages
from efat.campaign.job_factory import retraining_job
from efat.hardware.fleets import draw_fault_map
from efat.seeds import generator
from efat.training import EvaluationJob, GramJob, repair_step, trainer
from experiments.studies import open_study

HERE = Path(__file__).parent
sys.path.append(str(HERE))
from run import update  # noqa: E402 - beside this file
from settings import JOBS, SETTINGS  # noqa: E402

STEPS, RATE = 32, 0.15


def pieces(name: str, out: Path, data: Path) -> dict[str, Callable[[], object]]:
    """Return what to time: one unit of each kind, on a chip of 15 % faulty PEs."""
    arguments = [a.format(data=data) for a in SETTINGS[name]]
    where = [f"store={out / 'store'}", "executor=serial"]
    timed: dict[str, Callable[[], object]] = {}
    for job in (
        "eFAT-style", "remap + compensate", "remap + compensate, sequential", "remap", "compensate",
        "recalibrate", "harden + recalibrate", "harden",
    ):  # fmt: skip
        if job not in JOBS[name]:
            continue
        experiment, campaign = open_study([*arguments, *JOBS[name][job].arguments, *where])
        baseline = stages.pretrain(experiment, campaign)
        train = partial(trainer.train, store=campaign.store)
        if experiment.hardening:
            begun = replace(experiment.hardening, start=baseline.weights, amount_steps=STEPS)
            timed["hardening"] = partial(train, begun)
            continue
        baseline = stages.measure_grams(experiment, campaign, baseline)
        drawn = draw_fault_map(experiment.array, RATE, generator(0, "costs"))
        unit = retraining_job(experiment, baseline, drawn, 0)
        if job != "eFAT-style":
            timed[job] = partial(train, unit)
            continue
        timed |= {
            "unit": partial(train, unit),
            "steps": partial(train, replace(unit, amount_steps=STEPS)),
            "evaluation": partial(train, replace(unit, eval_every_steps=STEPS)),
        }
        setup, start = experiment.baseline_setup, baseline.weights
        measured = EvaluationJob(setup, start, experiment.array, (drawn,))
        timed["verification"] = partial(trainer.evaluate, measured, campaign.store)
        grams = GramJob(setup, start, experiment.recipe.samples, 0)
        timed["calibration"] = partial(repair_step.measure_grams, grams, campaign.store)
    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("outputs/less-retraining-images"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="*", help="all by default; rows of others stay")
    args = parser.parse_args()
    torch.set_num_threads(1)
    timed = pieces(args.setting, args.out.absolute(), args.data)
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


if __name__ == "__main__":
    main()
