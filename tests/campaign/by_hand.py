"""An experiment made by hand, and a runner that trains nothing."""

from dataclasses import replace

import numpy as np

from efat import FaultMap, SystolicArray
from efat.campaign.experiment import Amounts, Experiment, Selection
from efat.campaign.results import Baseline, Measured
from efat.hardware.chip import Chip, Fleet
from efat.planning.plan import Group
from efat.planning.planners.greedy import Greedy
from efat.planning.rules import NO_RULES
from efat.resilience.constraint import Constraint
from efat.training import Factory, trainer
from efat.training.jobs import TrainSpec

ARRAY = SystolicArray(2, 8)
NETWORK = Factory("efat.models.MLP", {"sizes": [64, 4, 10]})
DIGITS = Factory("efat.data.Digits", {"batch_size": 256})
SGD = Factory("torch.optim.SGD", {"lr": 0.1}, partial=True)
SETUP = TrainSpec(NETWORK, DIGITS, 10, {}, SGD, off_array=("layers.1",))
BASELINE = Baseline(("pretrain", "base"), val_metric=0.875, elapsed_s=3.0)


def fault_map(*faults):
    grid = np.zeros(ARRAY.rows * ARRAY.cols, dtype=bool)
    grid[list(faults)] = True
    return FaultMap(grid.reshape(ARRAY.rows, ARRAY.cols))


CHIPS = (
    Chip("a", fault_map(0, 1, 2, 3, 4)),
    Chip("b", fault_map(1, 2, 3, 4)),
    Chip("c", fault_map(0, 1, 2)),
    Chip("d", fault_map(8, 9)),
)


def experiment(**changes):
    values = Experiment(
        name="by hand",
        seed=5,
        array=ARRAY,
        fleet=Fleet(CHIPS),
        severity_name="array_rate",
        baseline_setup=SETUP,
        retrain_setup=SETUP,
        amounts=Amounts(100, 40, 20, steps_per_epoch=10, samples_per_step=32),
        fault_rates=(0.25, 0.5),
        maps_per_rate=3,
        selection=Selection(Constraint(max_drop=0.25), "max", 0.9, "linear"),
        rules=NO_RULES,
        planner=Greedy(),
        compare={},
    )
    return replace(values, **changes)


def group(*members, amount=20):
    maps = [chip.fault_map for chip in CHIPS if chip.chip_id in members]
    fused = maps[0]
    for other in maps[1:]:
        fused = fused | other
    return Group(members, fused, amount)


class FakeRunner:
    """Notes the jobs; answers each with numbers that tell which job and fault map they are of."""

    store = None

    def __init__(self):
        self.asked = []

    def run(self, stage, function, jobs):
        self.asked.append((stage, function, list(jobs)))
        answer = self.trained if function is trainer.train else self.evaluated
        return [(f"key{i}", answer(job)) for i, job in enumerate(jobs)]

    def trained(self, job):
        return {
            "amount_steps": [0, 20, 40],
            "metric": [0.1, 0.5, 0.7],
            "elapsed_s": 2.0,
            "diverged_steps": None,
        }

    def evaluated(self, job):
        val = [measured(job.start, fault_map) for fault_map in job.fault_maps]
        test = [v - 0.0625 for v in val]
        return {"val": val, "test": test, "test_samples": 64, "elapsed_s": 1.0}


def measured(weights, fault_map):
    faults = fault_map.fault_count if fault_map is not None else 0
    return {"base": 0.5, "one": 0.75, "two": 1.0}[weights[1]] - faults / 64


def accuracy(weights, fault_map):
    val = measured(weights, fault_map)
    return Measured(val, val - 0.0625)
