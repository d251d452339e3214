"""The series that figures on paper (matplotlib) and on pages (Plotly) both draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from efat.campaign.outcome import Outcome
from efat.resilience import ResilienceCurve, ResilienceMap

ABOVE = 1.08
"""Share of the budget at which points beyond the budget are drawn."""
POINTS = 300
"""Points of the line of a resilience map, besides both sides of each grid point."""

Point = tuple[float, float | None, str]
"""Severity, epochs (None: beyond the budget) and a name."""


@dataclass(frozen=True)
class MapSeries:
    """What the figure of a resilience map shows.

    Args:
        severities: Of the line.
        epochs: Of the line; None beyond the map.
        crossings: Where each curve of the analysis first meets the constraint.
        chips: Each chip on the line.
        groups: Groups of several chips, by their fused fault map.
        beyond_epochs: Height at which what is beyond the budget is drawn.
    """

    severities: list[float]
    epochs: list[float | None]
    crossings: list[Point]
    chips: list[Point]
    groups: list[Point]
    beyond_epochs: float


def map_series(
    resilience_map: ResilienceMap,
    crossings: Iterable[tuple[float, float]],
    chips: Iterable[tuple[str, float]],
    groups: Iterable[tuple[str, float, float]],
    steps_per_epoch: float,
    budget_steps: float,
) -> MapSeries:
    """Collect the series of a resilience map.

    Args:
        resilience_map: The map.
        crossings: Severity and steps (may be inf) of each curve.
        chips: Name and severity of each chip.
        groups: Name, severity and steps (may be inf) of each group.
        steps_per_epoch: Optimizer steps per epoch.
        budget_steps: Largest retraining amount of the analysis.
    """

    def epochs(steps: float) -> float | None:
        return None if math.isinf(steps) else steps / steps_per_epoch

    return MapSeries(
        *map_line(resilience_map, steps_per_epoch),
        [(severity, epochs(steps), "") for severity, steps in crossings],
        [(s, epochs(resilience_map.amount(s)), name) for name, s in chips],
        [(severity, epochs(steps), name) for name, severity, steps in groups],
        ABOVE * (budget_steps / steps_per_epoch or 1),
    )


def map_line(
    resilience_map: ResilienceMap, steps_per_epoch: float
) -> tuple[list[float], list[float | None]]:
    """Return severities and epochs, upright where the map has a step; None is beyond the map.

    >>> map_line(ResilienceMap(0.9, (0.5,), (20.0,), "ceil"), 10)[1][-2:]
    [2.0, 2.0]
    """
    last = max(resilience_map.severities)
    above = [np.nextafter(s, 1) for s in (0.0, *resilience_map.severities) if s < last]
    grid = sorted({0.0, *np.linspace(0, last, POINTS), *resilience_map.severities, *above})
    amounts = [resilience_map.amount(float(severity)) for severity in grid]
    epochs = [None if math.isinf(a) else a / steps_per_epoch for a in amounts]
    return [float(severity) for severity in grid], epochs


@dataclass(frozen=True)
class Band:
    """Mean and range of the curves of one fault rate; a curve that diverged ends."""

    epochs: list[float]
    low: list[float]
    mean: list[float]
    high: list[float]


def band(curves: Sequence[ResilienceCurve], steps_per_epoch: float, unit: float) -> Band:
    """Return the band of some curves; one that ended keeps its last value."""
    recorded = [dict(zip(curve.amount_steps, curve.metric, strict=True)) for curve in curves]
    points: dict[int, list[float]] = {}
    for steps in sorted({steps for curve in recorded for steps in curve}):
        values = [c.get(steps, last.metric[-1]) for c, last in zip(recorded, curves, strict=True)]
        if finite := [unit * value for value in values if math.isfinite(value)]:
            points[steps] = finite
    measured = list(points.values())
    return Band(
        [steps / steps_per_epoch for steps in points],
        [min(values) for values in measured],
        [sum(values) / len(values) for values in measured],
        [max(values) for values in measured],
    )


@dataclass(frozen=True)
class CostSeries:
    """Epochs of each strategy, what is spent once per network besides, and who passes."""

    names: list[str]
    retraining: list[float]
    once: list[float]
    labels: list[str]
    once_label: str


def cost_series(outcome: Outcome) -> CostSeries:
    """Collect the cost of every strategy; `once_label` is empty where nothing is spent once."""
    parts = ["analysis"] * bool(outcome.analysis) + ["hardening"] * bool(outcome.hardening)
    chips = len(outcome.chips)
    certified = [s.certified for s in outcome.strategies]
    return CostSeries(
        [s.label for s in outcome.strategies],
        [s.retraining.epochs for s in outcome.strategies],
        [outcome.once_epochs(s) for s in outcome.strategies],
        [
            f"{s.pass_test} of {chips} pass" + ("" if n is None else f", {n} certified")
            for s, n in zip(outcome.strategies, certified, strict=True)
        ],
        f"{' and '.join(parts)} (once per network)" if parts else "",
    )
