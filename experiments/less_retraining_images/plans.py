"""What would be planned from the curves of the record, and what that would cost: nothing trained.

python experiments/2026-11-22-less-retraining-images/plans.py --data FOLDER [SETTING ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from efat.campaign import Experiment, stages
from efat.resilience import Constraint, ResilienceCurve
from experiments.studies import open_study

HERE = Path(__file__).parent
sys.path.append(str(HERE))
from counting import curves_of, read  # noqa: E402 - beside this file
from run import update  # noqa: E402
from settings import JOBS, SETTINGS  # noqa: E402

DROPS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
STRATEGIES = ("planned", "fixed", "individual")


def recorded(experiment: Experiment, setting: str, job: str) -> list[ResilienceCurve]:
    """Return the curves of a job; its maps are drawn again for their severity."""
    curves = []
    for rows in curves_of(setting, job):
        rate, repeat = float(rows[0]["fault_rate"]), int(rows[0]["repeat"])
        severity = experiment.draw(rate, repeat).fault_rate
        steps = tuple(int(row["amount_steps"]) for row in rows)
        metric = tuple(float(row["val"]) for row in rows)
        curves.append(ResilienceCurve(rate, repeat, severity, steps, metric))
    return curves


def planned(
    experiment: Experiment, curves: Sequence[ResilienceCurve], baseline: float
) -> Iterator[dict[str, object]]:
    """Plan the fleet for every drop: grouped, one amount for all, and an amount a chip."""
    for drop in DROPS:
        selection = replace(experiment.selection, constraint=Constraint(drop))
        loose = replace(experiment, selection=selection)
        resilience_map = selection.read(curves, round(baseline - drop, 6))
        plans = stages.plan(loose, resilience_map)
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
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("outputs/less-retraining-images"))
    args = parser.parse_args()
    where = [f"store={args.out.absolute() / 'store'}", "executor=serial", "planner=greedy"]
    baselines = {row["setting"]: float(row["val"]) for row in read("baselines.csv")}
    for setting in args.settings or JOBS:
        for job, how in JOBS[setting].items():
            if not job.startswith("eFAT-style") or job.endswith(", long"):  # those have few rates
                continue
            arguments = [a.format(data=args.data) for a in SETTINGS[setting]]
            experiment, _ = open_study([*arguments, *how.arguments, *where])
            if curves := recorded(experiment, setting, job):
                found = list(planned(experiment, curves, baselines[setting]))
                update(HERE / "plans.csv", {"setting": setting, "job": job}, found)


if __name__ == "__main__":
    main()
