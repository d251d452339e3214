"""Recording resilience curves: masked networks, trained for the budget, looked at on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from efat.campaign.experiment import Experiment
from efat.campaign.job_factory import retraining_job, until_met
from efat.campaign.results import Analysis, Baseline
from efat.engine import Runner
from efat.hardware import FaultMap
from efat.resilience import ResilienceCurve
from efat.training import trainer


def record_curves(
    experiment: Experiment,
    campaign: Runner,
    baseline: Baseline,
    wanted: Sequence[tuple[float, int]],
) -> Analysis:
    """Record a curve for each fault rate and repeat of `wanted`."""
    maps = [experiment.draw(rate, repeat) for rate, repeat in wanted]
    budget, every = experiment.amounts.budget_steps, experiment.amounts.eval_every_steps
    until = until_met(experiment, baseline) if experiment.until_met else None
    jobs = [
        replace(retraining_job(experiment, baseline, drawn, budget, every), until=until)
        for drawn in maps
    ]
    results = [values for _, values in campaign.run("analyse", trainer.train, jobs)]
    curves = tuple(
        curve_of(experiment, rate, repeat, drawn, values)
        for (rate, repeat), drawn, values in zip(wanted, maps, results, strict=True)
    )
    repair_s = sum(values.get("repair_s", 0.0) for values in results)
    return Analysis(curves, sum(values["elapsed_s"] for values in results), repair_s)


def curve_of(
    experiment: Experiment, rate: float, repeat: int, fault_map: FaultMap, values: dict[str, Any]
) -> ResilienceCurve:
    """Return a curve; where the training diverged, what was not recorded is NaN."""
    amounts = experiment.amounts
    steps = tuple(range(0, amounts.budget_steps + 1, amounts.eval_every_steps))
    if experiment.until_met and values["diverged_steps"] is None:
        steps = tuple(values["amount_steps"])
    recorded = dict(zip(values["amount_steps"], values["metric"], strict=True))
    return ResilienceCurve(
        rate,
        repeat,
        experiment.severity(fault_map),
        steps,
        tuple(recorded.get(step, math.nan) for step in steps),
        experiment.metric.higher_is_better,
    )
