"""eFAT-style beside repair in closed form, on networks for images: raw rows of costs and results.

A job that is cut off goes on where it was: every unit is in the store. Rows of a job replace those
that it wrote before.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from efat.campaign import Analysis, Experiment, State, run_stages, stages
from efat.engine import UnitRunner
from efat.hardware import Fleet
from efat.planning import EarlyStopping, Group, Plan
from efat.training import EvaluationJob, Weights, trainer
from experiments.less_retraining_images.settings import JOBS, SETTINGS
from experiments.records import update
from experiments.studies import open_study

HERE = Path(__file__).parent
ALONE = ("none", "each", "early_stop")
"""Strategies that need no analysis: each chip of those that are measured is served by itself."""
Carried = tuple[Group, Weights, int]
"""A model: its group, where its weights are, and the steps that it was trained for."""


def open_job(
    setting: str,
    job: str,
    args: argparse.Namespace,
    *others: str,
    store: str = "store",
    executor: Sequence[str] = ("executor=serial",),
) -> tuple[Experiment, UnitRunner]:
    """Build a job of a setting, in a store of the study."""
    arguments = [a.format(data=args.data) for a in SETTINGS[setting]]
    arguments += JOBS[setting][job].arguments
    return open_study([*arguments, *executor, f"store={args.out.absolute() / store}", *others])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all scripts of the study ask for."""
    parser.add_argument("--data", type=Path, required=True, help="cifar10/, fashion_mnist/, ...")
    parser.add_argument("--out", type=Path, default=Path("outputs/less-retraining-images"))


def serve(args: argparse.Namespace, job: str) -> None:
    """Run a job and write its rows."""
    name, how = args.setting, JOBS[args.setting][job]
    strategies = [s for s in how.strategies if s in (args.strategies or how.strategies)]
    planned = [s for s in strategies if s not in ALONE]
    experiment, runner = open_job(name, job, args)
    with_map = bool(planned) or not how.strategies
    state = run_stages(experiment, runner, until="analyse" if with_map else "measure_grams")
    key = {"setting": name, "job": job}
    update(HERE / "baselines.csv", {"setting": name}, [described(state, runner)])
    part = Fleet(experiment.fleet.chips[:: args.every])
    for strategy in [s for s in strategies if s in ALONE]:
        alone = replace(state, experiment=replace(experiment, fleet=part))
        serve_alone(alone, runner, key | {"strategy": strategy})
    if with_map:
        update(HERE / "curves.csv", key, curve_rows(state.analysis))
    for strategy in planned:
        serve_planned(state, runner, part, key | {"strategy": strategy})


def described(state: State, runner: UnitRunner) -> dict[str, object]:
    """Return the fault-free network's accuracy, and the size of the splits."""
    experiment, start = state.experiment, state.baseline.weights
    job = EvaluationJob(experiment.baseline_setup, start, experiment.array, (None,))
    [(_, values)] = runner.run("evaluate", trainer.evaluate, [job])
    return {
        "val": values["val"][0], "test": values["test"][0], "test_samples": values["test_samples"],
        "max_drop": experiment.selection.constraint.max_drop, "chips": len(experiment.fleet),
    }  # fmt: skip


def serve_alone(state: State, runner: UnitRunner, key: Mapping[str, str]) -> None:
    """Serve every chip on its own: masked, repaired, or trained until it meets the constraint."""
    experiment, baseline = state.experiment, state.baseline
    chips, masked = experiment.fleet.chips, key["strategy"] == "none"
    plan = Plan(tuple(Group((c.chip_id,), c.fault_map, 0.0) for c in chips), ())
    if key["strategy"] == "early_stop":
        plan = EarlyStopping()(chips, lambda _: 0.0, experiment.seed)
    if masked:
        carried: list[Carried] = [(group, baseline.weights, 0) for group in plan.groups]
    else:
        carried = trained(state, runner, plan)
    hardened = baseline.hardened
    counts = {
        "unsalvageable": 0,
        "models": 0 if masked else len(chips),
        "retrain_steps": sum(steps for _, _, steps in carried),
        "hardening_steps": hardened.steps if hardened else 0,
        "hardened_val": hardened.val_metric if hardened else "",
    }
    write_rows(experiment, runner, carried, experiment.fleet, key, counts)


def trained(state: State, runner: UnitRunner, plan: Plan) -> list[Carried]:
    """Make the models of a plan."""
    models = stages.retrain(state.experiment, runner, state.baseline, {"plan": plan})["plan"]
    return [(model.group, model.weights, model.trained_steps) for model in models]


def serve_planned(state: State, runner: UnitRunner, part: Fleet, key: Mapping[str, str]) -> None:
    """Serve the fleet as planned; a chip beyond the resilience map carries the masked baseline.

    All is planned; the models of the chips of `part` are made and measured.
    """
    experiment, strategy = state.experiment, key["strategy"]
    plans = stages.plan(experiment, state.resilience_map, state.severity)
    plan = plans[experiment.planner_name if strategy == "planned" else strategy]
    named = {chip.chip_id for chip in part}
    made = Plan(tuple(g for g in plan.groups if named & set(g.members)), ())
    masked = [chip for chip in part if chip.chip_id in plan.unsalvageable]
    carried = trained(state, runner, made)
    carried += [
        (Group((chip.chip_id,), chip.fault_map, 0.0), state.baseline.weights, 0) for chip in masked
    ]
    counts = {
        "unsalvageable": len(plan.unsalvageable), "models": len(plan.groups),
        "retrain_steps": int(plan.total_steps), "hardening_steps": 0, "hardened_val": "",
    }  # fmt: skip
    write_rows(experiment, runner, carried, part, key, counts)


def write_rows(
    experiment: Experiment,
    runner: UnitRunner,
    carried: Sequence[Carried],
    part: Fleet,
    key: Mapping[str, str],
    counts: Mapping[str, object],
) -> None:
    """Measure and write: one measurement per model, under its fused map.

    The weights of all PEs that are faulty in any of its chips are zero in a model, so that under a
    chip's own map it is the same network.
    """
    # One setup for all recipes: a measurement trains nothing.
    jobs = [
        EvaluationJob(experiment.baseline_setup, weights, experiment.array, (group.fused,))
        for group, weights, _ in carried
    ]
    results = [values for _, values in runner.run("evaluate", trainer.evaluate, jobs)]
    rates = {chip.chip_id: chip.fault_map.fault_rate for chip in part}
    rows = [
        {
            "chip_id": chip, "fault_rate": rates[chip],
            "model": place, "group_size": len(g.members),
            "fused_fault_rate": g.fused.fault_rate, "amount_steps": steps,
            "val": f"{values['val'][0]:.6f}", "test": f"{values['test'][0]:.6f}",
        }
        for place, ((g, _, steps), values) in enumerate(zip(carried, results, strict=True))
        for chip in g.members
        if chip in rates
    ]  # fmt: skip
    update(HERE / "chips.csv.gz", key, sorted(rows, key=lambda row: row["chip_id"]))
    update(HERE / "results.csv", key, [counts])


def curve_rows(analysis: Analysis) -> list[dict[str, object]]:
    return [
        {
            "fault_rate": curve.fault_rate, "repeat": curve.repeat,
            "amount_steps": steps, "val": f"{value:.6f}",
        }
        for curve in analysis.curves
        for steps, value in zip(curve.amount_steps, curve.metric, strict=True)
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    add_arguments(parser)
    parser.add_argument("--jobs", nargs="*", help="all by default")
    parser.add_argument("--strategies", nargs="*", help="of a job; all by default")
    parser.add_argument("--every", type=int, default=1, help="serve each so-manyth chip alone")
    args = parser.parse_args()
    for job in args.jobs or JOBS[args.setting]:
        serve(args, job)
