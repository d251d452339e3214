"""The main job, its repaired variants and each recipe alone, by fleet: raw rows.

Campaigns go through the stages of `python -m efat.run` with the same keys, without its report.

python experiments/2026-11-22-less-retraining/run.py [FLEET/JOB/SEED ...]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from costs import Quiet

from efat import report, stages
from efat.atomic import write_json
from efat.campaign import Campaign
from efat.chips import Fleet
from efat.executors.serial import Serial
from efat.experiment import Experiment
from efat.findings import Analysis, Baseline
from efat.overrides import compose_jobs
from efat.planning.base import Group, Plan
from efat.preflight import build_experiment
from efat.report import StrategyResult
from efat.resilience import ResilienceCurve, ResilienceMap
from efat.store import Store
from efat.tables import write_csv

HERE = Path(__file__).parent
PLAIN, REPAIRED = "+experiment=resnet_fat", "+experiment=resnet_fat_best"
JOBS = {
    "eFAT-style": (PLAIN,),
    "eFAT-style-top-up": (PLAIN, "recipe.steps=[retrain,top_up]"),
    "gradual": (PLAIN, "recipe.inject=gradual", "fault_rates.until_met=true"),
    "one-shot": (REPAIRED,),
    "one-shot-top-up": (REPAIRED, "recipe.steps=[remap,compensate,retrain,top_up]"),
    "sequential": (REPAIRED, "recipe.mode=sequential"),
    "rows": (REPAIRED, "recipe.remap=rows_and_columns"),
    "compensate": (REPAIRED, "recipe=compensate"),
    "recalibrate": (REPAIRED, "recipe=recalibrate", "training=sgd"),
    "harden": (REPAIRED, "recipe=harden", "training=sgd"),
}
REPAIRS = {
    "eFAT-style": "",
    "eFAT-style-top-up": "",
    "gradual": "",
    "one-shot-top-up": "one-shot",
    "harden": "recalibrate",
}
"""The repair whose cost a job pays, where its name is not the job's."""
MAIN = "uniform-40"
COMPARED = {
    "eFAT-style": "none,greedy,fixed,individual,early_stop",
    "eFAT-style-top-up": "greedy",
    "gradual": "greedy",
    "one-shot": "greedy,individual,early_stop",
}
"""On the main fleet, beside `best`."""
COMPARED_ELSEWHERE = {"eFAT-style": "none,greedy,early_stop"}
FLEETS = {
    MAIN: (),
    "clustered-40": ("fleet=clustered",),
    "uniform-100": ("fleet.chips=100",),
    "uniform-1000": ("fleet.chips=1000",),
    "clustered-1000": ("fleet=clustered", "fleet.chips=1000"),
}
LARGE, EVERY = 1000, 40
"""From so many chips on, each so-many-th is measured: 25 of 1,000."""


def open_experiment(fleet: str, job: str, seed: int, store: Store) -> Experiment:
    compared = (COMPARED if fleet == MAIN else COMPARED_ELSEWHERE).get(job, "")
    words = [*JOBS[job], *FLEETS[fleet], f"compare=[{compared}]", f"seed={seed}"]
    (cfg,) = compose_jobs([*words, f"store={store.root}"])
    return build_experiment(cfg)


def campaign_rows(fleet: str, job: str, seed: int, store: Store) -> dict[str, list[dict]]:
    """Run a campaign, or what the store lacks of it; return a row a strategy and a row a chip."""
    experiment = open_experiment(fleet, job, seed, store)
    campaign = Campaign(store, Serial(), Quiet())
    baseline = stages.pretrain(experiment, campaign)
    target = stages.check_reachable(experiment, baseline)
    baseline = stages.harden(experiment, campaign, baseline)
    baseline = stages.calibrate(experiment, campaign, baseline)
    analysis = stages.analyse(experiment, campaign, baseline)
    resilience_map = stages.select(experiment, analysis, target)
    plans, planning_s = plan(experiment, resilience_map)
    once = once_costs(experiment, baseline, analysis, target)
    fleet_size, shown = len(experiment.fleet), sample(experiment)
    models = stages.retrain(shown, campaign, baseline, serving(plans, shown))
    evaluation = stages.evaluate(shown, campaign, baseline, models)
    outcome = report.build_outcome(
        shown, baseline, analysis, resilience_map, serving(plans, shown), models, evaluation
    )
    head = {"fleet": fleet, "seed": seed, "job": job}
    results = [
        head
        | {"strategy": s.name, "repair": REPAIRS.get(job, job)}
        | counts(plans[s.name], s, fleet_size // len(shown.fleet), once)
        | paid(once, plans[s.name])
        | {"verified_chips": fleet_size, "measured_chips": len(shown.fleet)}
        | measured(s)
        | {"target_test": f"{outcome.targets.test:.6f}", "planning_s": f"{planning_s[s.name]:.2f}"}
        for s in outcome.strategies
    ]
    return {"results": results, "chips": [head | chip_cells(chip) for chip in outcome.chips]}


def sample(experiment: Experiment) -> Experiment:
    """Return the experiment with the chips that are measured."""
    chips = experiment.fleet.chips
    some = chips[EVERY // 2 :: EVERY] if len(chips) >= LARGE else chips
    return replace(experiment, fleet=Fleet(some))


def serving(plans: dict[str, Plan], shown: Experiment) -> dict[str, Plan]:
    """Return the groups that chips of this fleet are in, without the others' chips."""
    names = {chip.chip_id for chip in shown.fleet}
    return {
        name: replace(
            plan,
            groups=tuple(
                Group(members, group.fused, group.amount_steps)
                for group in plan.groups
                for members in [tuple(m for m in group.members if m in names)]
                if members
            ),
            unsalvageable=tuple(m for m in plan.unsalvageable if m in names),
        )
        for name, plan in plans.items()
    }


def plan(experiment: Experiment, found: ResilienceMap) -> tuple[dict[str, Plan], dict[str, float]]:
    """Return the plan of every strategy, and the processor seconds that it took."""
    planners = {experiment.planner_name: experiment.planner, **experiment.compare}
    plans, seconds, chips = {}, {}, experiment.fleet.chips
    for name, planner in planners.items():
        began = time.process_time()
        cost = stages.cost(experiment, found)
        plans[name] = planner(chips, cost, experiment.seed) if planner else Plan((), ())
        seconds[name] = time.process_time() - began
    return plans, seconds


def once_costs(
    experiment: Experiment, baseline: Baseline, analysis: Analysis, target: float
) -> dict[str, int]:
    """Return what a network cost before any chip: hardening, calibration, analysis."""
    curves = analysis.curves
    ended = [ended_at(curve, target) for curve in curves]
    return {
        "hardening_steps": baseline.hardened.steps if baseline.hardened else 0,
        "calibrations": int(baseline.calibration is not None),
        "analysis_curves": len(curves),
        "analysis_points": sum(len(curve.metric) for curve in curves),
        "analysis_steps": sum(curve.amount_steps[-1] for curve in curves),
        "ended_points": sum(points for points, _ in ended),
        "ended_steps": sum(steps for _, steps in ended),
        "analysis_repairs": len(curves) * bool(experiment.recipe.repairs),
    }


def ended_at(curve: ResilienceCurve, target: float) -> tuple[int, int]:
    """Return points and steps of a curve up to its first crossing, as with `until_met`."""
    met = [value >= target for value in curve.metric]
    last = met.index(True) if any(met) else len(met) - 1
    return last + 1, curve.amount_steps[last]


def paid(once: dict[str, int], plan: Plan) -> dict[str, int]:
    """Return what of it a strategy makes use of; early stopping asks for no analysis."""
    of_network = ("hardening_steps", "calibrations")
    return {
        name: value if plan.groups and (not plan.until_met or name in of_network) else 0
        for name, value in once.items()
    }


def counts(plan: Plan, result: StrategyResult, share: int, once: dict[str, int]) -> dict[str, int]:
    """Return what a strategy costs for all chips, of which one in `share` is carried out.

    Steps are then of the plan; of early stopping, which plans none, those found times `share`.
    """
    planned = share > 1 and not plan.until_met
    return {
        "models": len(plan.groups),
        "retrain_steps": int(plan.total_steps) if planned else result.retraining.steps * share,
        "evaluations": result.retraining.evaluations * share,
        "repairs": len(plan.groups) * bool(once["analysis_repairs"]),
        "unsalvageable": len(plan.unsalvageable),
    }


def measured(result: StrategyResult) -> dict:
    """Return what a strategy achieved, of the chips measured."""
    return {
        "met_val": result.met_val,
        "met_test": result.met_test,
        "verified": result.verified,
        "mean_test": f"{result.mean_test:.6f}",
        "worst_test": f"{result.worst_test:.6f}",
        "topped_up": result.topped_up,
        "topped_up_steps": result.topped_up_steps,
        "short_groups": len(result.short_groups),
    }


def chip_cells(chip: dict) -> dict:
    rates = ("fault_rate", "fused_fault_rate", "val_after", "test_after", "test_low")
    found = {n: chip[n] for n in ("chip_id", "group", "amount_steps", "trained_steps", "status")}
    return found | {n: None if chip[n] is None else f"{chip[n]:.6f}" for n in rates}


def all_runs() -> list[str]:
    """Name every campaign, FLEET/JOB/SEED: all jobs on the main fleet, two on the others."""
    main = [f"{MAIN}/{job}/{s}" for job in JOBS for s in (0, 1, 2) if job != "harden" or not s]
    others = [f"{fleet}/{job}/0" for fleet in FLEETS for job in ("eFAT-style", "one-shot")]
    return main + [name for name in others if not name.startswith(MAIN)]


def gather(out: Path) -> None:
    """Write the rows of all campaigns that are done."""
    done = [out / f"{name}.json" for name in all_runs()]
    found = [json.loads(path.read_text()) for path in done if path.exists()]
    for kind in ("results", "chips"):
        write_csv(HERE / f"{kind}.csv", [row for rows in found for row in rows[kind]])


def main(names: Sequence[str], out: Path) -> None:
    torch.set_num_threads(1)
    store = Store(out / "store")
    store.open()
    for name in names:
        if not (out / f"{name}.json").exists():
            fleet, job, seed = name.split("/")
            rows = campaign_rows(fleet, job, int(seed), store)
            write_json(out / f"{name}.json", rows)
    gather(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=all_runs(), metavar="FLEET/JOB/SEED")
    parser.add_argument("--out", type=Path, default=Path("outputs/less-retraining").absolute())
    args = parser.parse_args()
    main(args.names, args.out)
