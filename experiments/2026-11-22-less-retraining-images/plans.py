"""What eFAT-style grouping would plan under looser constraints: amounts counted, nothing trained.

python experiments/2026-11-22-less-retraining-images/plans.py --data FOLDER [--out ...]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from efat import stages
from efat.resilience import Constraint
from experiments.studies import open_study

HERE = Path(__file__).parent
sys.path.append(str(HERE))
from run import update  # noqa: E402 - beside this file
from settings import JOBS, SETTINGS  # noqa: E402

DROPS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("outputs/less-retraining-images"))
    args = parser.parse_args()
    arguments = [a.format(data=args.data) for a in SETTINGS["cifar10"]]
    arguments += JOBS["cifar10"]["eFAT-style"].arguments
    where = [f"store={args.out.absolute() / 'store'}", "executor=serial"]
    experiment, campaign = open_study([*arguments, *where])
    baseline = stages.pretrain(experiment, campaign)
    analysis = stages.analyse(experiment, campaign, baseline)
    rows = []
    for drop in DROPS:
        selection = replace(experiment.selection, constraint=Constraint(drop))
        loose = replace(experiment, selection=selection)
        target = stages.check_reachable(loose, baseline)
        resilience_map = stages.select(loose, analysis, target)
        plan = stages.plan(loose, resilience_map)[loose.planner_name]
        rows.append({
            "max_drop": drop, "highest_rate": f"{resilience_map.max_severity:.3f}",
            "served": sum(len(group.members) for group in plan.groups),
            "models": len(plan.groups), "steps": int(plan.total_steps),
        })  # fmt: skip
    update(HERE / "plans.csv", {"setting": "cifar10"}, rows)


if __name__ == "__main__":
    main()
