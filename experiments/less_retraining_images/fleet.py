"""Time to repair per fleet as a campaign does, every chip's network stored: published ResNet-20.

With `--measure 25` each 25th chip of a fleet repaired before is measured instead.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from efat.campaign import State, run_stages, stages
from efat.engine import UnitRunner
from efat.engine.executors.pool import shared_pool
from efat.hardware import Fleet
from efat.planning import Group, Plan
from experiments.less_retraining_images.run import (
    add_arguments,
    described,
    open_job,
    serve_alone,
)
from experiments.records import update

HERE = Path(__file__).parent


def processor_seconds() -> float:
    """Return what this process and its finished children used."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, whose))


def repair(state: State, runner: UnitRunner, key: Mapping[str, object]) -> None:
    """Repair all chips, and write what it took; workers count with their start."""
    chips = state.experiment.fleet.chips
    plan = Plan(tuple(Group((c.chip_id,), c.fault_map, 0.0) for c in chips), ())
    began, used = time.perf_counter(), processor_seconds()
    models = stages.retrain(state.experiment, runner, state.baseline, {"each": plan})["each"]
    wall_s = time.perf_counter() - began
    shared_pool(key["workers"]).close()  # only children that ended are counted
    whole = {"wall_s": f"{wall_s:.1f}", "processor_s": f"{processor_seconds() - used:.1f}"}
    update(HERE / "fleets.csv", key, [whole])
    rows = [
        {"fault_rate": model.group.fused.fault_rate, "repair_s": f"{model.repair_s:.3f}"}
        for model in models
    ]
    update(HERE / "fleet_chips.csv.gz", key, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=("remap + compensate", "compensate"))
    add_arguments(parser)
    parser.add_argument("--clustered", action="store_true", help="faults in clusters, 10 %%")
    parser.add_argument("--chips", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="1: in this process")
    parser.add_argument("--measure", type=int, metavar="EVERY", help="measure, repair nothing")
    args = parser.parse_args()
    setting = "cifar10 clustered" if args.clustered else "cifar10"
    executor = ["executor=serial"]
    if args.workers > 1:
        executor = ["executor=processes", f"executor.workers={args.workers}"]
    fleet = (f"fleet.chips={args.chips}", "seed=1")
    experiment, runner = open_job(
        setting, args.recipe, args, *fleet, store="fleet", executor=executor
    )
    state = run_stages(experiment, runner, until="measure_grams")
    if not args.measure:
        kind = "clustered" if args.clustered else "uniform"
        key = {"fleet": kind, "recipe": args.recipe, "chips": args.chips, "workers": args.workers}
        repair(state, runner, key)
        return
    setting += f" {args.chips}"
    update(HERE / "baselines.csv", {"setting": setting}, [described(state, runner)])
    part = Fleet(experiment.fleet.chips[:: args.measure])
    alone = replace(state, experiment=replace(experiment, fleet=part))
    serve_alone(alone, runner, {"setting": setting, "job": args.recipe, "strategy": "each"})
