"""The main job, its repaired variants and each recipe alone, by fleet: raw rows.

Campaigns walk the stages of `python -m efat.run` with the same keys, without its report.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from efat.campaign import State, StrategyResult, outcome, run_stages, stages
from efat.io import write_json
from efat.planning import Plan
from efat.resilience import ResilienceCurve
from experiments.records import write
from experiments.studies import open_study

HERE = Path(__file__).parent
PLAIN, REPAIRED = "+experiment=resnet_fat", "+experiment=resnet_fat_repair"
JOBS = {
    "eFAT-style": (PLAIN,),
    "eFAT-style-top-up": (PLAIN, "recipe.steps=[retrain,top_up]"),
    "gradual": (PLAIN, "recipe.inject=gradual", "fault_rates.until_met=true"),
    "one-shot": (REPAIRED,),
    "one-shot-top-up": (REPAIRED, "recipe.steps=[remap,compensate,retrain,top_up]"),
    "sequential": (REPAIRED, "recipe.mode=sequential"),
    "auto": (REPAIRED, "recipe.mode=auto"),
    "rows": (REPAIRED, "recipe.remap=rows_and_columns"),
    "compensate": (REPAIRED, "recipe=compensate"),
    "remap": (REPAIRED, "recipe.steps=[remap,retrain]", "training=sgd"),
    "recalibrate": (REPAIRED, "recipe=recalibrate", "training=sgd"),
    "harden": (REPAIRED, "recipe=harden", "training=sgd"),
}
REPAIRS = {
    "eFAT-style": "",
    "eFAT-style-top-up": "",
    "gradual": "",
    "one-shot-top-up": "one-shot",
    "remap": "one-shot",
    "auto": "sequential",
    "harden": "recalibrate",
}
"""The repair whose cost a job pays, where its name is not the job's. Remapping alone was not timed:
it pays as much as with compensation; `auto` pays for every map as if it were sequential."""
MAIN = "uniform-40"
COMPARED = {
    "eFAT-style": "none,greedy,fixed,individual,early_stop",
    "eFAT-style-top-up": "greedy",
    "gradual": "greedy",
    "one-shot": "greedy,individual,early_stop,no_remap",
}
"""On the main fleet, beside `min_cost`."""
COMPARED_ELSEWHERE = {"eFAT-style": "none,greedy,early_stop", "one-shot": "early_stop"}
FLEETS = {
    MAIN: (),
    "clustered-40": ("fleet=clustered",),
    "uniform-100": ("fleet.chips=100", "fleet.fault_rate=[0.01,0.2]"),
    "uniform-1000": ("fleet.chips=1000",),
    "clustered-1000": ("fleet=clustered", "fleet.chips=1000"),
}


def campaign_rows(fleet: str, job: str, seed: int, store: Path) -> dict[str, list[dict]]:
    """Run a campaign, or what the store lacks of it; return a row per strategy and per chip."""
    compared = (COMPARED if fleet == MAIN else COMPARED_ELSEWHERE).get(job, "")
    experiment, runner = open_study(
        [
            *JOBS[job], "planner=min_cost", *FLEETS[fleet], f"compare=[{compared}]",
            f"seed={seed}", f"store={store}", "executor=serial",
        ]
    )  # fmt: skip
    state = run_stages(experiment, runner)
    result, once = outcome.build_outcome(state), once_costs(state)
    head = {"fleet": fleet, "seed": seed, "job": job}
    results = [
        head
        | {"strategy": s.name, "repair": repair_of(job, s.name)}
        | counts(state.plans[s.name], s, once)
        | paid(once, state.plans[s.name])
        | {"chips": len(experiment.fleet)}
        | measured(s)
        | {"target_test": f"{result.targets.test:.6f}"}
        | {"planning_s": f"{planning_seconds(state, s.name):.2f}"}
        for s in result.strategies
    ]
    return {"results": results, "chips": [head | chip_cells(chip) for chip in result.chips]}


def planning_seconds(state: State, name: str) -> float:
    """Plan once more, and return the processor seconds that it takes."""
    experiment = state.experiment
    planners = {experiment.planner_name: experiment.planner, **experiment.compare}
    began = time.process_time()
    if planner := planners[name]:
        cost = stages.cost(experiment, state.resilience_map, state.severity)
        planner(experiment.fleet.chips, cost, experiment.seed)
    return time.process_time() - began


def once_costs(state: State) -> dict[str, int]:
    """Return what a network cost before any chip: hardening, calibration, analysis."""
    baseline, curves, target = state.baseline, state.analysis.curves, state.target
    ended = [ended_at(curve, target) for curve in curves]
    return {
        "hardening_steps": baseline.hardened.steps if baseline.hardened else 0,
        "calibrations": int(baseline.grams is not None),
        "analysis_curves": len(curves),
        "analysis_points": sum(len(curve.metric) for curve in curves),
        "analysis_steps": sum(curve.amount_steps[-1] for curve in curves),
        "ended_points": sum(points for points, _ in ended),
        "ended_steps": sum(steps for _, steps in ended),
        "analysis_repairs": len(curves) * bool(state.experiment.recipe.repairs),
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


def repair_of(job: str, strategy: str) -> str:
    """Name the repair whose cost a strategy pays."""
    return "compensate" if strategy == "no_remap" else REPAIRS.get(job, job)


def counts(plan: Plan, result: StrategyResult, once: dict[str, int]) -> dict[str, int]:
    """Return what a strategy costs the chips."""
    return {
        "models": len(plan.groups),
        "retrain_steps": result.retraining.steps,
        "evaluations": result.retraining.evaluations,
        "repairs": len(plan.groups) * bool(once["analysis_repairs"]),
        "unsalvageable": len(plan.unsalvageable),
    }


def measured(result: StrategyResult) -> dict:
    """Return what a strategy achieved."""
    return {
        "met_val": result.pass_val,
        "met_test": result.pass_test,
        "certified": result.certified,
        "mean_test": f"{result.mean_test:.6f}",
        "worst_test": f"{result.worst_test:.6f}",
        "topped_up": result.topped_up,
        "topped_up_steps": result.topped_up_steps,
        "short_groups": len(result.failing_groups),
    }


def chip_cells(chip: dict) -> dict:
    rates = ("fault_rate", "fused_fault_rate", "val_after", "test_after", "test_low")
    cells = {n: chip[n] for n in ("chip_id", "group", "amount_steps", "trained_steps", "status")}
    return cells | {n: None if chip[n] is None else f"{chip[n]:.6f}" for n in rates}


def all_runs() -> list[str]:
    """Name every campaign, FLEET/JOB/SEED: all jobs on the main fleet, two on the others."""
    main = [f"{MAIN}/{job}/{s}" for job in JOBS for s in (0, 1, 2)]
    others = [f"{fleet}/{job}/0" for fleet in FLEETS for job in ("eFAT-style", "one-shot")]
    return main + [name for name in others if not name.startswith(MAIN)]


def ten_seeds() -> list[str]:
    """Name the campaigns of the ten seeds on another processor."""
    jobs = ("eFAT-style", "one-shot", "one-shot-top-up", "sequential")
    return [f"{MAIN}/{job}/{seed}" for job in jobs for seed in range(10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FLEET/JOB/SEED", help="all by default")
    parser.add_argument("--seeds", action="store_true", help="ten seeds of the main fleet")
    parser.add_argument("--out", type=Path, default=Path("outputs/less-retraining").absolute())
    args = parser.parse_args()
    torch.set_num_threads(1)
    everything = ten_seeds() if args.seeds else all_runs()
    paths = {name: args.out / f"{name}.json" for name in everything}
    for name in args.names or everything:
        if not paths[name].exists():
            fleet, job, seed = name.split("/")
            write_json(paths[name], campaign_rows(fleet, job, int(seed), args.out / "store"))
    campaigns = [json.loads(path.read_text()) for path in paths.values() if path.exists()]
    write(
        HERE / ("seeds.csv" if args.seeds else "results.csv"),
        [row for campaign in campaigns for row in campaign["results"]],
    )
    if not args.seeds:
        write(HERE / "chips.csv.gz", [row for campaign in campaigns for row in campaign["chips"]])
