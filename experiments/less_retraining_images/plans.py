"""Plans of the record's curves under looser constraints, and what they would cost."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from efat.campaign import Experiment, analysis, stages
from efat.resilience import Constraint, ResilienceCurve, array_rate
from experiments.less_retraining_images.counting import curves_of
from experiments.less_retraining_images.run import add_arguments, open_job
from experiments.less_retraining_images.settings import JOBS
from experiments.records import read, update

HERE = Path(__file__).parent
DROPS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
STRATEGIES = ("planned", "fixed", "individual")


def recorded(experiment: Experiment, setting: str, job: str) -> list[ResilienceCurve]:
    """Return the curves of a job; its maps are drawn again for their severity."""
    curves = []
    for rows in curves_of(setting, job):
        rate, repeat = float(rows[0]["fault_rate"]), int(rows[0]["repeat"])
        severity = analysis.draw_analysis_map(experiment, rate, repeat).fault_rate
        steps = tuple(int(row["amount_steps"]) for row in rows)
        metric = tuple(float(row["val"]) for row in rows)
        curves.append(ResilienceCurve(rate, repeat, severity, steps, metric))
    return curves


def planned(
    experiment: Experiment, curves: Sequence[ResilienceCurve], baseline: float
) -> Iterator[dict[str, object]]:
    """Plan the fleet for every drop: grouped, one amount for all, and an amount per chip."""
    for drop in DROPS:
        selection = replace(experiment.selection, constraint=Constraint(drop))
        loose = replace(experiment, selection=selection)
        resilience_map = selection.read(curves, round(baseline - drop, 6))
        plans = stages.plan(loose, resilience_map, array_rate)
        for strategy in STRATEGIES:
            plan = plans[loose.planner_name if strategy == "planned" else strategy]
            yield {
                "max_drop": drop, "strategy": strategy,
                "highest_rate": f"{resilience_map.max_severity:.3f}",
                "served": sum(len(group.members) for group in plan.groups),
                "models": len(plan.groups), "steps": int(plan.total_steps),
            }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", help="all by default")
    add_arguments(parser)
    args = parser.parse_args()
    baselines = {row["setting"]: float(row["val"]) for row in read(HERE / "baselines.csv")}
    for setting in args.settings or JOBS:
        for job in JOBS[setting]:
            if not job.startswith("eFAT-style") or job.endswith(", long"):  # those have few rates
                continue
            experiment, _ = open_job(setting, job, args, "planner=greedy")
            if curves := recorded(experiment, setting, job):
                plans = list(planned(experiment, curves, baselines[setting]))
                update(HERE / "plans.csv", {"setting": setting, "job": job}, plans)
