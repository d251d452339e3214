"""Merged fault maps, injected all at once or one by one, for the same number of steps in all.

All at once: mask by the union of the maps, retrain for STEPS. Step by step: mask by the first map,
retrain for STEPS / maps, mask by the union of the first two, go on, and so forth; the last part is
under the whole union. The optimizer starts anew with each part.

python .../run.py OUT.csv RATE STEPS SEEDS +experiment=NAME key=value ...
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from operator import or_
from pathlib import Path

from efat.campaign import Experiment, stages
from efat.engine import UnitRunner
from efat.hardware import FaultMap
from efat.hardware.fleets import draw_fault_map
from efat.io import write_csv
from efat.seeds import derive, generator
from efat.training import EvaluationJob, TrainingJob, Weights, trainer
from experiments.studies import open_study

COUNTS = (1, 2, 4, 6, 8, 10)
"""Maps that are merged; with one, both ways are the same training."""


@dataclass(frozen=True)
class Case:
    """One network to train: the masks it goes through, one after the other, and where it is now."""

    maps: int
    seed: int
    way: str
    masks: tuple[FaultMap, ...]
    weights: Weights | None
    done_steps: int = 0
    diverged: bool = False

    @property
    def waits(self) -> bool:
        """Whether masks are left that have not been injected."""
        return bool(self.masks) and not self.diverged


def cases(experiment: Experiment, rate: float, seeds: int, start: Weights) -> list[Case]:
    """Return every count, seed and way; fewer maps are the first ones of more."""
    found = []
    for seed in range(seeds):
        streams = (generator(seed, "merge", i) for i in range(max(COUNTS)))
        maps = [draw_fault_map(experiment.array, rate, stream) for stream in streams]
        for count in COUNTS:
            union = reduce(or_, maps[:count])
            steps = tuple(accumulate(maps[:count], or_))
            found += [
                Case(count, seed, "at once", (union,), start),
                Case(count, seed, "step by step", steps, start),
            ]
    return found


def part(experiment: Experiment, case: Case, steps: int) -> TrainingJob:
    """Describe the training under the next mask."""
    share = steps if case.way == "at once" else steps // case.maps
    return TrainingJob(
        experiment.retrain_setup,
        derive(case.seed, "order", case.done_steps),
        share,
        start=case.weights,
        array=experiment.array,
        fault_map=case.masks[0],
    )


def train(
    experiment: Experiment, campaign: UnitRunner, waiting: list[Case], steps: int
) -> list[Case]:
    """Inject the next mask of every case, and train under it."""
    jobs = [part(experiment, case, steps) for case in waiting]
    results = campaign.run("merge", trainer.train, jobs)
    return [
        replace(
            case,
            masks=case.masks[1:],
            weights=("merge", key),
            done_steps=case.done_steps + job.amount_steps,
            diverged=values["diverged_steps"] is not None,
        )
        for case, job, (key, values) in zip(waiting, jobs, results, strict=True)
    ]


def measure(
    experiment: Experiment, campaign: UnitRunner, ended: list[tuple[Case, FaultMap]]
) -> list:
    """Return validation and test accuracy of every case under its union."""
    setup, array = experiment.retrain_setup, experiment.array
    jobs = [EvaluationJob(setup, case.weights, array, (union,)) for case, union in ended]
    results = campaign.run("evaluate", trainer.evaluate, jobs)
    return [(values["val"][0], values["test"][0]) for _, values in results]


def main(target: Path, rate: float, steps: int, seeds: int, arguments: list[str]) -> None:
    experiment, campaign = open_study(arguments)
    start = stages.pretrain(experiment, campaign).weights
    open_cases = cases(experiment, rate, seeds, start)
    unions = [case.masks[-1] for case in open_cases]
    while any(case.waits for case in open_cases):
        trained = iter(train(experiment, campaign, [c for c in open_cases if c.waits], steps))
        open_cases = [next(trained) if case.waits else case for case in open_cases]
    pairs = list(zip(open_cases, unions, strict=True))
    ended = [(case, union) for case, union in pairs if not case.diverged]
    measured = dict(
        zip(map(id, (c for c, _ in ended)), measure(experiment, campaign, ended), strict=True)
    )
    rows = []
    for case, union in pairs:
        val, test = measured.get(id(case), (None, None))
        rows.append(
            {
                "model": arguments[0].rpartition("=")[2],
                "lr": experiment.retrain_setup.optimizer["lr"],
                "map_rate": rate,
                "maps": case.maps,
                "seed": case.seed,
                "way": case.way,
                "union_rate": union.fault_rate,
                "steps": case.done_steps,
                "diverged": case.diverged,
                "val": val,
                "test": test,
            }
        )
    write_csv(target, rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
