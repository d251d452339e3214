"""Merged fault maps, injected all at once or one by one, for the same number of steps in all.

All at once: mask by the union of the maps, retrain for STEPS. Step by step: mask by the first map,
retrain for STEPS / maps, mask by the union of the first two, and so on; the last part is under the
whole union. The optimizer starts anew with each part.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from operator import or_
from pathlib import Path

from efat.campaign import Experiment, run_stages
from efat.engine import UnitRunner
from efat.hardware import FaultMap
from efat.hardware.fleets import draw_fault_map
from efat.seeds import derive, generator
from efat.training import EvaluationJob, TrainingJob, Weights, trainer
from experiments.records import write
from experiments.studies import open_study

HERE = Path(__file__).parent
COUNTS, STEPS = (1, 2, 4, 6, 8, 10), 240
"""Maps that are merged (with one, both ways are the same training); steps in all."""
DEEP = (
    "+experiment=resnet_fat", "name=deep_mlp", "model=mlp",
    "model.sizes=[64,128,128,128,128,128,128,10]",
)  # fmt: skip
RUNS = (
    (0.05, 5, ("+experiment=resnet_fat",)),
    (0.1, 4, ("+experiment=resnet_fat",)),
    (0.1, 3, DEEP),
    (0.1, 5, (*DEEP, "training.optimizer.lr=0.1")),
)
"""Rate of a map, seeds, arguments."""


@dataclass(frozen=True)
class Case:
    """One network to train: the masks that it still goes through, and where it is now."""

    maps: int
    seed: int
    way: str
    union: FaultMap
    masks: tuple[FaultMap, ...]
    weights: Weights
    done_steps: int = 0
    diverged: bool = False

    @property
    def waits(self) -> bool:
        """Return whether masks remain to be injected."""
        return bool(self.masks) and not self.diverged


def cases(experiment: Experiment, rate: float, seeds: int, start: Weights) -> list[Case]:
    """Return every count, seed and way; fewer maps are the first ones of more."""
    listed = []
    for seed in range(seeds):
        streams = (generator(seed, "merge", i) for i in range(max(COUNTS)))
        maps = [draw_fault_map(experiment.array, rate, stream) for stream in streams]
        for count in COUNTS:
            union, steps = reduce(or_, maps[:count]), tuple(accumulate(maps[:count], or_))
            listed.append(Case(count, seed, "at once", union, (union,), start))
            listed.append(Case(count, seed, "step by step", union, steps, start))
    return listed


def train(experiment: Experiment, runner: UnitRunner, waiting: Sequence[Case]) -> list[Case]:
    """Inject the next mask of every case, and train under it."""
    jobs = [
        TrainingJob(
            experiment.retrain_setup,
            derive(c.seed, "order", c.done_steps),
            STEPS if c.way == "at once" else STEPS // c.maps,
            start=c.weights,
            array=experiment.array,
            fault_map=c.masks[0],
        )
        for c in waiting
    ]
    results = runner.run("merge", trainer.train, jobs)
    return [
        replace(
            c,
            masks=c.masks[1:],
            weights=("merge", key),
            done_steps=c.done_steps + job.amount_steps,
            diverged=values["diverged_steps"] is not None,
        )
        for c, job, (key, values) in zip(waiting, jobs, results, strict=True)
    ]


def measure(rate: float, seeds: int, arguments: Sequence[str]) -> list[dict[str, object]]:
    """Train every case to its end; return a row per case, measured under its union."""
    experiment, runner = open_study([*arguments, "executor=serial"])
    start = run_stages(experiment, runner, until="pretrain").baseline.weights
    trained = cases(experiment, rate, seeds, start)
    while any(case.waits for case in trained):
        further = iter(train(experiment, runner, [case for case in trained if case.waits]))
        trained = [next(further) if case.waits else case for case in trained]
    ended = [case for case in trained if not case.diverged]
    setup, array = experiment.retrain_setup, experiment.array
    jobs = [EvaluationJob(setup, case.weights, array, (case.union,)) for case in ended]
    results = runner.run("evaluate", trainer.evaluate, jobs)
    by_case = {id(c): values for c, (_, values) in zip(ended, results, strict=True)}
    return [
        {
            "model": experiment_name(arguments), "lr": setup.optimizer.arguments["lr"],
            "map_rate": rate,
            "maps": case.maps, "seed": case.seed, "way": case.way,
            "union_rate": case.union.fault_rate, "steps": case.done_steps,
            "diverged": case.diverged,
            **{split: by_case[id(case)][split][0] if id(case) in by_case else None
               for split in ("val", "test")},
        }
        for case in trained
    ]  # fmt: skip


def experiment_name(arguments: Sequence[str]) -> str:
    return "resnet8" if len(arguments) == 1 else "deep_mlp"


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = [row for run in RUNS for row in measure(*run)]
    write(HERE / "results.csv", [row for row in rows if row["maps"] > 1 or row["lr"] == 0.1])
