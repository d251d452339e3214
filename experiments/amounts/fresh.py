"""Do conformal amounts hold for fresh chips? 200 new maps per rate, trained for their amount."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from efat.campaign import State, analysis, job_factory, run_stages
from efat.engine import UnitRunner
from efat.training import trainer
from experiments.records import write
from experiments.studies import open_study

HERE = Path(__file__).parent
RATES = (0.05, 0.1)
CHIPS, FIRST = 200, 1000
"""Fresh maps per rate; the first of their numbers, far from those of the analysis."""


def fresh_rows(state: State, runner: UnitRunner, rate: float) -> list[dict[str, object]]:
    """Train fresh maps of a rate for the amount that the resilience map gives there."""
    experiment, amount = state.experiment, state.resilience_map.amount(rate)
    every = experiment.amounts.eval_every_steps
    steps = int(min(amount, experiment.amounts.budget_steps))
    jobs = [
        job_factory.retraining_job(
            experiment, state.baseline,
            analysis.draw_analysis_map(experiment, rate, FIRST + chip), steps, every,
        )
        for chip in range(CHIPS)
    ]  # fmt: skip
    rows = []
    for chip, (_, values) in enumerate(runner.run("fresh", trainer.train, jobs)):
        met = [value >= state.target for value in values["metric"]]
        rows.append({
            "seed": experiment.seed, "fault_rate": rate, "chip": chip,
            "amount_steps": "" if math.isinf(amount) else int(amount), "trained_steps": steps,
            "crossing_steps": values["amount_steps"][met.index(True)] if any(met) else "",
            "val_metric": f"{values['metric'][-1]:.6f}", "target": f"{state.target:.6f}",
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("outputs/amounts/store").absolute())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--maps", type=int, default=25)
    args = parser.parse_args()
    experiment, runner = open_study(
        [
            "+experiment=resnet_fat", "selection.stat=conformal", f"store={args.store}",
            f"seed={args.seed}", f"fault_rates.maps_per_rate={args.maps}", "executor=serial",
        ]
    )  # fmt: skip
    state = run_stages(experiment, runner, until="analyse")
    rows = [row for rate in RATES for row in fresh_rows(state, runner, rate)]
    write(HERE / "chips.csv.gz", rows)
