"""eFAT-style beside repair in closed form, on networks for images: raw rows of costs and results.

python experiments/2026-11-22-less-retraining-images/run.py SETTING --data FOLDER [--jobs ...]

A job that is cut off goes on where it was: every unit is in the store. Rows of a job replace those
that it wrote before.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from efat.campaign import Analysis, Baseline, Experiment, TrainedModel, stages
from efat.engine import UnitRunner
from efat.hardware import Fleet
from efat.planning import EarlyStopping, Group, Plan
from efat.training import EvaluationJob, Weights, trainer
from experiments.studies import open_study

HERE = Path(__file__).parent
sys.path.append(str(HERE))
from settings import JOBS, SETTINGS  # noqa: E402 - beside this file

ALONE = ("none", "each", "early_stop")
"""Strategies that need no analysis: each chip of those that are measured is served by itself."""
Carried = tuple[Group, Weights, int]
"""A model: its group, where its weights are, and the steps that it was trained for."""


def serve(args: argparse.Namespace, job: str) -> None:
    """Run a job and write its rows."""
    name, how = args.setting, JOBS[args.setting][job]
    strategies = [s for s in how.strategies if s in (args.strategies or how.strategies)]
    arguments = [a.format(data=args.data) for a in SETTINGS[name]] + list(how.arguments)
    where = [f"store={args.out.absolute() / 'store'}", "executor=serial"]
    experiment, campaign = open_study([*arguments, *where])
    baseline = stages.pretrain(experiment, campaign)
    baseline = stages.harden(experiment, campaign, baseline)
    baseline = stages.measure_grams(experiment, campaign, baseline)
    key = {"setting": name, "job": job}
    update(HERE / "baselines.csv", {"setting": name}, [described(experiment, campaign, baseline)])
    part = replace(experiment, fleet=Fleet(experiment.fleet.chips[:: args.every]))
    for strategy in [s for s in strategies if s in ALONE]:
        serve_alone(part, campaign, baseline, key | {"strategy": strategy})
    planned = [s for s in strategies if s not in ALONE]
    if how.strategies and not planned:
        return
    analysis = stages.analyse(experiment, campaign, baseline)
    update(HERE / "curves.csv", key, curve_rows(analysis))
    named = {chip.chip_id for chip in part.fleet}
    for strategy in planned:
        serve_planned(experiment, campaign, baseline, analysis, named, key | {"strategy": strategy})


def described(
    experiment: Experiment, campaign: UnitRunner, baseline: Baseline
) -> dict[str, object]:
    """Return the fault-free network's accuracy, and the size of the splits."""
    job = EvaluationJob(experiment.baseline_setup, baseline.weights, experiment.array, (None,))
    [(_, values)] = campaign.run("evaluate", trainer.evaluate, [job])
    return {
        "val": values["val"][0], "test": values["test"][0], "test_samples": values["test_samples"],
        "max_drop": experiment.selection.constraint.max_drop, "chips": len(experiment.fleet),
    }  # fmt: skip


def serve_alone(
    experiment: Experiment, campaign: UnitRunner, baseline: Baseline, key: dict[str, str]
) -> None:
    """Serve every chip on its own: masked, repaired, or trained until it meets the constraint."""
    chips = experiment.fleet.chips
    plan = Plan(tuple(Group((c.chip_id,), c.fault_map, 0.0) for c in chips), ())
    if key["strategy"] == "none":
        carried: list[Carried] = [(group, baseline.weights, 0) for group in plan.groups]
    else:
        if key["strategy"] == "early_stop":
            plan = EarlyStopping()(chips, lambda _: 0.0, experiment.seed)
        carried = [
            (model.group, model.weights, model.trained_steps)
            for model in stages.retrain(experiment, campaign, baseline, {"each": plan})["each"]
        ]
    counts = {
        "models": 0 if key["strategy"] == "none" else len(chips),
        "retrain_steps": sum(steps for _, _, steps in carried),
        "hardening_steps": baseline.hardened.steps if baseline.hardened else 0,
        "hardened_val": baseline.hardened.val_metric if baseline.hardened else "",
    }
    named = {chip.chip_id for chip in chips}
    write(experiment, campaign, carried, named, key, counts)


def serve_planned(
    experiment: Experiment,
    campaign: UnitRunner,
    baseline: Baseline,
    analysis: Analysis,
    named: set[str],
    key: dict[str, str],
) -> None:
    """Serve the fleet as planned; a chip beyond the resilience map carries the masked baseline.

    All is planned, the named chips' models are made and measured.
    """
    target = stages.check_reachable(experiment, baseline)
    resilience_map = stages.select(experiment, analysis, target)
    print(resilience_map)
    plans = stages.plan(experiment, resilience_map)
    strategy = key["strategy"]
    plan = plans[experiment.planner_name if strategy == "planned" else strategy]
    made = Plan(tuple(g for g in plan.groups if named & set(g.members)), ())
    models: Sequence[TrainedModel] = stages.retrain(experiment, campaign, baseline, {"plan": made})[
        "plan"
    ]
    maps = {chip.chip_id: chip.fault_map for chip in experiment.fleet}
    carried: list[Carried] = [(model.group, model.weights, model.trained_steps) for model in models]
    left = [chip for chip in plan.unsalvageable if chip in named]
    carried += [(Group((chip,), maps[chip], 0.0), baseline.weights, 0) for chip in left]
    counts = {
        "models": len(plan.groups), "retrain_steps": int(plan.total_steps),
        "unsalvageable": len(plan.unsalvageable), "hardening_steps": 0, "hardened_val": "",
    }  # fmt: skip
    write(experiment, campaign, carried, named, key, counts)


def write(
    experiment: Experiment,
    campaign: UnitRunner,
    carried: Sequence[Carried],
    named: set[str],
    key: dict[str, str],
    counts: dict[str, int],
) -> None:
    """Measure and write: one measurement a model, under its fused map.

    The weights of all PEs that are faulty in any of its chips are zero in a model, so that under a
    chip's own map it is the same network.
    """
    # One setup for all recipes: a measurement trains nothing.
    jobs = [
        EvaluationJob(experiment.baseline_setup, weights, experiment.array, (group.fused,))
        for group, weights, _ in carried
    ]
    found = [values for _, values in campaign.run("evaluate", trainer.evaluate, jobs)]
    rates = {chip.chip_id: chip.fault_map.fault_rate for chip in experiment.fleet}
    rows = [
        {
            "chip_id": chip, "fault_rate": rates[chip],
            "model": place, "group_size": len(g.members),
            "fused_fault_rate": g.fused.fault_rate, "amount_steps": steps,
            "val": f"{values['val'][0]:.6f}", "test": f"{values['test'][0]:.6f}",
        }
        for place, ((g, _, steps), values) in enumerate(zip(carried, found, strict=True))
        for chip in g.members
        if chip in named
    ]  # fmt: skip
    update(HERE / "chips.csv", key, sorted(rows, key=lambda row: row["chip_id"]))
    update(HERE / "results.csv", key, [{"unsalvageable": 0} | counts])


def curve_rows(analysis: Analysis) -> list[dict[str, object]]:
    return [
        {
            "fault_rate": curve.fault_rate, "repeat": curve.repeat,
            "amount_steps": steps, "val": f"{value:.6f}",
        }
        for curve in analysis.curves
        for steps, value in zip(curve.amount_steps, curve.metric, strict=True)
    ]  # fmt: skip


def update(path: Path, key: dict[str, str], rows: Sequence[dict[str, object]]) -> None:
    """Put rows in the place of those that have the same key; other processes wait meanwhile."""
    keyed = [key | row for row in rows]
    with path.open("a+", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        kept = [
            row
            for row in csv.DictReader(file)
            if any(row[name] != value for name, value in key.items())
        ]
        file.truncate(0)
        table = csv.DictWriter(file, list(keyed[0]), lineterminator="\n")
        table.writeheader()
        table.writerows([*kept, *keyed])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--data", type=Path, required=True, help="cifar10/, fashion_mnist/, ...")
    parser.add_argument("--out", type=Path, default=Path("outputs/less-retraining-images"))
    parser.add_argument("--jobs", nargs="*", help="all by default")
    parser.add_argument("--strategies", nargs="*", help="of a job; all by default")
    parser.add_argument("--every", type=int, default=1, help="serve each so-manyth chip alone")
    args = parser.parse_args()
    for job in args.jobs or JOBS[args.setting]:
        serve(args, job)


if __name__ == "__main__":
    main()
