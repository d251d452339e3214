"""Do conformal amounts hold for fresh chips? 200 new maps a rate, trained for what the map says.

python experiments/2026-11-22-amounts/fresh.py --store outputs/amounts/store
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

from efat.campaign import stages
from efat.campaign.job_factory import retraining_job
from efat.training import trainer
from experiments.studies import open_study

HERE = Path(__file__).parent
RATES = (0.05, 0.1)
CHIPS, FIRST = 200, 1000
"""Fresh maps a rate; the first of their numbers, far from those of the analysis."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("outputs/amounts/store"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--maps", type=int, default=25)
    args = parser.parse_args()
    experiment, campaign = open_study(
        [
            "+experiment=resnet_fat", "selection.stat=conformal", f"store={args.store}",
            f"seed={args.seed}", f"fault_rates.maps_per_rate={args.maps}", "executor=serial",
        ]
    )  # fmt: skip
    baseline = stages.pretrain(experiment, campaign)
    target = stages.check_reachable(experiment, baseline)
    resilience_map = stages.select(
        experiment, stages.analyse(experiment, campaign, baseline), target
    )
    every, rows = experiment.amounts.eval_every_steps, []
    for rate in RATES:
        amount = resilience_map.amount(rate)
        steps = int(min(amount, experiment.amounts.budget_steps))
        jobs = [
            retraining_job(experiment, baseline, experiment.draw(rate, FIRST + chip), steps, every)
            for chip in range(CHIPS)
        ]
        for chip, (_, values) in enumerate(campaign.run("fresh", trainer.train, jobs)):
            met = [value >= target for value in values["metric"]]
            rows.append(
                {
                    "seed": args.seed, "fault_rate": rate, "chip": chip,
                    "amount_steps": "" if math.isinf(amount) else int(amount),
                    "trained_steps": steps,
                    "crossing_steps": values["amount_steps"][met.index(True)] if any(met) else "",
                    "val_metric": f"{values['metric'][-1]:.6f}", "target": f"{target:.6f}",
                }
            )  # fmt: skip
    with (HERE / "fresh.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
