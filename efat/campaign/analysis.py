"""Resilience analysis: record curves of masked networks, and read the resilience map off them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from efat.campaign.experiment import Experiment
from efat.campaign.job_factory import retraining_job, until_met
from efat.campaign.results import Analysis, Baseline
from efat.engine import Runner
from efat.hardware import FaultMap
from efat.hardware.fleets import draw_fault_map
from efat.resilience import (
    RateGrid,
    ResilienceCurve,
    ResilienceMap,
    Severity,
    highest_within_reach,
    severity_of_rate,
)
from efat.seeds import generator
from efat.training import trainer


def draw_analysis_map(experiment: Experiment, fault_rate: float, repeat: int) -> FaultMap:
    """Draw a fault map of the analysis, from a stream of its own: no rate changes another."""
    rng = generator(experiment.seed, "analyse", fault_rate, repeat)
    return draw_fault_map(experiment.array, fault_rate, rng)


@dataclass(frozen=True)
class CurveReader:
    """Read curves as the experiment selects, and say which curves to record next.

    Args:
        experiment: Its grid of fault rates and its selection.
        severity: The x axis of the resilience map.
        target: The constraint on validation.
    """

    experiment: Experiment
    severity: Severity
    target: float

    @cached_property
    def severities(self) -> dict[float, tuple[float, ...]]:
        """Severities of all maps of each fault rate: their mean is its place on the map's axis."""
        repeats = range(self.experiment.maps_per_rate)
        return {
            rate: tuple(
                self.severity(draw_analysis_map(self.experiment, rate, repeat))
                for repeat in repeats
            )
            for rate in self.experiment.fault_rates
        }

    @property
    def grid(self) -> RateGrid:
        """The grid of the analysis, and how it is searched."""
        experiment, amounts = self.experiment, self.experiment.amounts
        return RateGrid(
            experiment.fault_rates,
            experiment.maps_per_rate,
            amounts.budget_steps // amounts.eval_every_steps + 1,
            experiment.search,
            experiment.max_cost,
            bool(experiment.recipe.repairs),
        )

    def resilience_map(self, curves: Sequence[ResilienceCurve]) -> ResilienceMap:
        """Read the resilience map off the curves (METHOD section 5)."""
        return self.experiment.selection.read(curves, self.target, self.severities)

    def amounts_by_rate(self, curves: Sequence[ResilienceCurve]) -> dict[float, float]:
        """Return the map's retraining amount (steps) at each fault rate that it is read off."""
        if not curves:
            return {}
        return self.experiment.selection.amounts_by_rate(curves, self.target, self.severities)

    def next_curves(self, curves: Sequence[ResilienceCurve]) -> tuple[tuple[float, int], ...]:
        """Return rate and repeat of each curve to record after `curves`; none: the search ended."""
        amounts = self.amounts_by_rate(curves)
        return self.grid.next_curves(curves, amounts, self.experiment.amounts.eval_every_steps)

    def reach(self, curves: Sequence[ResilienceCurve]) -> float | None:
        """Return the severity up to which more curves might extend the map.

        None: `max_cost` did not end the search early, so that more curves tell nothing.
        """
        unlimited = replace(self, experiment=replace(self.experiment, max_cost=None))
        if not unlimited.next_curves(curves):
            return None
        places = {rate: severity_of_rate(drawn) for rate, drawn in self.severities.items()}
        return highest_within_reach(places, self.amounts_by_rate(curves))


def analyse(
    experiment: Experiment, runner: Runner, baseline: Baseline, severity: Severity
) -> Analysis:
    """Record resilience curves, round by round where rates are searched (METHOD sections 4, 5)."""
    target = experiment.selection.constraint.target(baseline.val_metric)
    reader = CurveReader(experiment, severity, target)
    curves: tuple[ResilienceCurve, ...] = ()
    elapsed_s = repair_s = 0.0
    while wanted := reader.next_curves(curves):
        results = _record(experiment, runner, baseline, wanted)
        new = (_curve(experiment, severity, *key, values) for key, values in results)
        curves = tuple(sorted((*curves, *new), key=lambda c: (c.fault_rate, c.repeat)))
        elapsed_s += sum(values["elapsed_s"] for _, values in results)
        repair_s += sum(values.get("repair_s", 0.0) for _, values in results)
    return Analysis(
        curves,
        elapsed_s,
        repair_s,
        reader.resilience_map(curves),
        tuple(sorted(reader.amounts_by_rate(curves))),
        reader.reach(curves),
    )


def _record(
    experiment: Experiment,
    runner: Runner,
    baseline: Baseline,
    wanted: Sequence[tuple[float, int]],
) -> list[tuple[tuple[float, int], dict[str, Any]]]:
    """Train a network for each fault rate and repeat of `wanted`; return the results of each."""
    budget, every = experiment.amounts.budget_steps, experiment.amounts.eval_every_steps
    until = until_met(experiment, baseline) if experiment.until_met else None
    maps = [draw_analysis_map(experiment, rate, repeat) for rate, repeat in wanted]
    jobs = [
        replace(retraining_job(experiment, baseline, fault_map, budget, every), until=until)
        for fault_map in maps
    ]
    results = runner.run("analyse", trainer.train, jobs)
    return [(key, values) for key, (_, values) in zip(wanted, results, strict=True)]


def _curve(
    experiment: Experiment,
    severity: Severity,
    rate: float,
    repeat: int,
    values: dict[str, Any],
) -> ResilienceCurve:
    fault_map = draw_analysis_map(experiment, rate, repeat)
    return curve_of(experiment, rate, repeat, severity(fault_map), values)


def curve_of(
    experiment: Experiment, rate: float, repeat: int, severity: float, values: dict[str, Any]
) -> ResilienceCurve:
    """Return the curve of a training; points that a diverged training did not reach are NaN."""
    amounts = experiment.amounts
    steps = tuple(range(0, amounts.budget_steps + 1, amounts.eval_every_steps))
    if experiment.until_met and values["diverged_steps"] is None:
        steps = tuple(values["amount_steps"])
    recorded = dict(zip(values["amount_steps"], values["metric"], strict=True))
    metric = tuple(recorded.get(step, math.nan) for step in steps)
    better = experiment.metric.higher_is_better
    return ResilienceCurve(rate, repeat, severity, steps, metric, better)
