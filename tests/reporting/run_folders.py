"""Runs as finished campaigns leave them, without the hours: a typed value, and its folder."""

import json
import math
from functools import reduce
from operator import or_
from pathlib import Path

from efat.campaign.experiment import Amounts
from efat.campaign.outcome import Outcome, StrategyResult, TrainingCost
from efat.campaign.results import Measured
from efat.campaign.run_parts import MapResult, PlannedGroup, PlanResult, Settings
from efat.campaign.run_result import RunResult
from efat.campaign.tables import ChipResult, GroupResult
from efat.hardware import Chip, Fleet, SystolicArray
from efat.hardware.fleets import save_fleet, uniform_fleet
from efat.io import write_csv, write_json
from efat.planning import Rules
from efat.resilience import ACCURACY, ResilienceCurve

STEPS, EPOCH = (0, 10, 20, 30), 10


def result(chips=12, side=8, worse=0.0, name="tiny", seed=0):
    """A run of groups of three: the last chip unsalvageable, the first one fails."""
    array = SystolicArray(side, side)
    fleet = uniform_fleet(array, seed, chips, (0.01, 0.2))
    groups = [fleet.chips[i : min(i + 3, chips - 1)] for i in range(0, chips - 1, 3)]
    fused = [Chip(f"group{i:03d}", reduce(or_, (c.fault_map for c in g))) for i, g in
             enumerate(groups)]  # fmt: skip
    rows = tuple(_chips(fleet, groups, fused, worse))
    last = fleet.chips[-1].chip_id
    return RunResult(
        folder=Path(name),
        outcome=_outcome(rows, len(groups)),
        metric=ACCURACY,
        amounts=Amounts(100, 30, 10, EPOCH, 32),
        settings=Settings(1, "selection.max_drop", array, (0.1, 0.3, 0.5)),
        plan=PlanResult(
            "greedy", 20.0 * len(groups), Rules(), 80.0, 60.0, 0.25, False, (last,),
            tuple(
                PlannedGroup(f.chip_id, tuple(c.chip_id for c in g), f.fault_map.fault_rate, 0.2,
                             20.0, f.fault_map.key)
                for f, g in zip(fused, groups, strict=True)
            ),
        ),
        groups=(
            *(
                GroupResult(f.chip_id, len(g), f.fault_map.fault_rate, 20.0, alone_steps=30.0,
                            price=20.0, price_alone=30.0, share_saved=1 / 3,
                            members=";".join(c.chip_id for c in g))
                for f, g in zip(fused, groups, strict=True)
            ),
            GroupResult("unsalvageable", 1, members=last),
        ),
        curves=tuple(_curves()),
        map=MapResult("accuracy", 0.8, "array_rate", "linear", "max", "envelope", 1, 0.3, EPOCH,
                      30, (0.1, 0.3, 0.5), False, (0.1, 0.3, 0.5), (10.0, 20.0, None)),
        maps=fleet.chips,
        fused=tuple(fused),
        layers=tuple(
            {"layer": layer, "weights": 64.0, "chips_mean": 0.1, "chips_min": 0.01,
             "chips_max": 0.2, "models_mean": 0.3, "models_min": 0.2, "models_max": 0.4}
            for layer in ("conv", "linear")
        ),
        provenance={"name": name, "command": "python -m efat.run", "seed": seed,
                    "versions": {"torch": "2.13"}, "split_sha256": None},
        config=f"name: {name}\nseed: {seed}\nstore: x\n",
    )  # fmt: skip


def finished(folder, **changes):
    """Write such a run into a folder, and return that."""
    run = result(**changes)
    run.save(folder)
    save_fleet(Fleet(run.maps), folder / "fleet.npz")
    save_fleet(Fleet(run.fused), folder / "fused_maps.npz")
    write_csv(folder / "layers.csv", run.layers)
    write_json(folder / "provenance.json", run.provenance)
    (folder / "config.yaml").write_text(run.config)
    return folder


def edit(path, **changes):
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _chips(fleet, groups, fused, worse):
    index = {c.chip_id: i for i, g in enumerate(groups) for c in g}
    for place, chip in enumerate(fleet):
        group = index.get(chip.chip_id)
        value = 0.5 if group is None else 0.7 if place == 0 else 0.9 - worse - 0.001 * group
        rate, planned = chip.fault_map.fault_rate, group is not None
        yield ChipResult(
            chip_id=chip.chip_id, fault_rate=rate, severity=rate,
            group=fused[group].chip_id if planned else "",
            group_size=len(groups[group]) if planned else 0,
            fused_fault_rate=fused[group].fault_map.fault_rate if planned else None,
            amount_steps=20 if planned else None, amount_epochs=2.0 if planned else None,
            trained_steps=20 if planned else None, val_before=0.6, val_after=value,
            test_before=0.6, test_after=value, pass_val=value >= 0.8, pass_test=value >= 0.8,
            test_low=value - 0.08, test_high=value + 0.05,
            status="certified" if value >= 0.88 else "pass" if value >= 0.8 else "fail",
            salvageable=planned,
        )  # fmt: skip


def _curves():
    """Two rates, two repeats; the second repeat of the second rate diverges after a step."""
    for rate in (0.1, 0.3):
        for repeat in (0, 1):
            diverges = (rate, repeat) == (0.3, 1)
            metric = [math.nan if diverges and s > 10 else 0.71 + s / 100 for s in STEPS]
            yield ResilienceCurve(rate, repeat, rate, STEPS, tuple(metric))


def _outcome(rows, models):
    tests = [row.test_after for row in rows]
    failing = tuple(row.chip_id for row in rows if not row.pass_test)

    def strategy(name, models, epochs):
        return StrategyResult(
            name, models, 0, TrainingCost(int(EPOCH * epochs), epochs, 0, 1.0),
            len(rows) - len(failing), len(rows) - len(failing),
            sum(row.status == "certified" for row in rows), sum(tests) / len(tests), min(tests),
            failing, needs_analysis=models > 0,
        )  # fmt: skip

    return Outcome(
        Measured(0.95, 0.94), Measured(0.8, 0.8), 1.0, TrainingCost(120, 12.0, 0, 5.0),
        (strategy("greedy", models, 8.0), strategy("fixed", len(rows), 24.0),
         strategy("none", 0, 0.0)),
        (rows[-1].chip_id,), rows, test_samples=100, needed=88,
    )  # fmt: skip
