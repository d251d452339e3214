"""Time to repair a fleet as a campaign does, every chip's network stored: published ResNet-20.

python experiments/2026-11-22-less-retraining-images/fleet.py RECIPE --data FOLDER [--chips 1000]

With `--measure 25` each 25th chip of a fleet repaired before is measured instead.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

from efat.campaign import Baseline, Experiment, stages
from efat.engine import UnitRunner
from efat.engine.executors.pool import shared_pool
from efat.hardware import Fleet
from efat.planning import Group, Plan
from experiments.studies import open_study

HERE = Path(__file__).parent
sys.path.append(str(HERE))
from run import described, serve_alone, update  # noqa: E402 - beside this file
from settings import JOBS, SETTINGS  # noqa: E402


def processor_seconds() -> float:
    """Return what this process and its finished children used."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, whose))


def repair(
    experiment: Experiment, campaign: UnitRunner, baseline: Baseline, key: dict[str, str]
) -> None:
    """Repair all chips, and write what it took; workers count with their start."""
    groups = tuple(Group((c.chip_id,), c.fault_map, 0.0) for c in experiment.fleet.chips)
    began, used = time.perf_counter(), processor_seconds()
    models = stages.retrain(experiment, campaign, baseline, {"each": Plan(groups, ())})["each"]
    wall_s = time.perf_counter() - began
    shared_pool(int(key["workers"])).close()  # only children that ended are counted
    processor_s = processor_seconds() - used
    whole = {"wall_s": f"{wall_s:.1f}", "processor_s": f"{processor_s:.1f}"}
    update(HERE / "fleets.csv", key, [whole])
    rows = [
        {"fault_rate": model.group.fused.fault_rate, "repair_s": f"{model.repair_s:.3f}"}
        for model in models
    ]
    update(HERE / "fleet_chips.csv", key, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=("remap + compensate", "compensate"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("outputs/less-retraining-images"))
    parser.add_argument("--clustered", action="store_true", help="faults in clusters, 10 %%")
    parser.add_argument("--chips", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="1: in this process")
    parser.add_argument("--measure", type=int, metavar="EVERY", help="measure, repair nothing")
    args = parser.parse_args()
    setting = "cifar10 clustered" if args.clustered else "cifar10"
    arguments = [a.format(data=args.data) for a in SETTINGS[setting]]
    arguments += JOBS["cifar10"][args.recipe].arguments
    executor = ["executor=serial"]
    if args.workers > 1:
        executor = ["executor=processes", f"executor.workers={args.workers}"]
    fleet = [f"fleet.chips={args.chips}", "seed=1", f"store={args.out.absolute() / 'fleet'}"]
    experiment, campaign = open_study([*arguments, *fleet, *executor])
    baseline = stages.pretrain(experiment, campaign)
    baseline = stages.measure_grams(experiment, campaign, baseline)
    if not args.measure:
        kind = "clustered" if args.clustered else "uniform"
        key = {"fleet": kind, "recipe": args.recipe, "chips": str(args.chips)}
        key["workers"] = str(args.workers)
        repair(experiment, campaign, baseline, key)
        return
    setting += f" {args.chips}"
    row = described(experiment, campaign, baseline)
    update(HERE / "baselines.csv", {"setting": setting}, [row])
    part = replace(experiment, fleet=Fleet(experiment.fleet.chips[:: args.measure]))
    key = {"setting": setting, "job": args.recipe, "strategy": "each"}
    serve_alone(part, campaign, baseline, key)


if __name__ == "__main__":
    main()
