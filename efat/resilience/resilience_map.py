"""Resilience curves, and the resilience map from severity to amount (METHOD sections 4, 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean
from typing import Literal, get_args

import numpy as np
from scipy.optimize import isotonic_regression

from efat.errors import EfatError, raise_problems
from efat.resilience.metric import Metric

Stat = Literal["max", "mean", "quantile", "conformal"]
Monotone = Literal["envelope", "isotonic"]
Interpolation = Literal["linear", "ceil"]


@dataclass(frozen=True)
class ResilienceCurve:
    """Validation metric of one masked network against its retraining amount.

    Args:
        fault_rate: Array fault rate of the grid point, in [0, 1].
        repeat: Number of the random fault map at that rate, from 0.
        severity: Severity of that fault map.
        amount_steps: Recorded amounts, in optimizer steps, increasing from 0.
        metric: Value at each amount; accuracy in [0, 1] unless the task has another metric.
        higher_is_better: False where the metric is an error.
    """

    fault_rate: float
    repeat: int
    severity: float
    amount_steps: tuple[int, ...]
    metric: tuple[float, ...]
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        steps = self.amount_steps
        if len(steps) != len(self.metric) or not steps or steps[0] != 0:
            raise EfatError("curve: needs one value per amount, the first at amount 0")
        if any(later <= earlier for earlier, later in pairwise(steps)):
            raise EfatError("curve: amounts must increase")

    @property
    def diverged(self) -> bool:
        """Whether its training diverged; the values after that are NaN."""
        return math.isnan(self.metric[-1])

    def crossing(self, target: float, sustained: int = 1) -> float:
        """Return the first recorded amount (steps) that reaches `target`, or inf if none does.

        Args:
            target: Value of the metric.
            sustained: Number of consecutive evaluations that must reach it, from that amount on.

        >>> curve = ResilienceCurve(0.1, 0, 0.1, (0, 4, 8, 12), (0.5, 0.97, 0.95, 0.96))
        >>> curve.crossing(0.96), curve.crossing(0.98), curve.crossing(0.95, sustained=3)
        (4.0, inf, 4.0)
        """
        metric, in_a_row = Metric(higher_is_better=self.higher_is_better), 0
        for index, value in enumerate(self.metric):
            in_a_row = in_a_row + 1 if metric.meets(value, target) else 0
            if in_a_row == sustained:
                return float(self.amount_steps[index - sustained + 1])
        return math.inf


@dataclass(frozen=True)
class ResilienceMap:
    """Retraining amount against severity, for one accuracy constraint.

    Args:
        target: The value `A*` of the metric to reach on validation.
        severities: Grid, increasing; 0 is implied, with amount 0.
        amounts_steps: `E` at each grid point, in optimizer steps, never decreasing; inf where the
            constraint was not reached within the budget.
        interpolation: `linear` between grid points, or `ceil` (next grid point, conservative).
    """

    target: float
    severities: tuple[float, ...]
    amounts_steps: tuple[float, ...]
    interpolation: Interpolation = "linear"

    def __post_init__(self) -> None:
        problems = []
        if not self.severities or len(self.severities) != len(self.amounts_steps):
            problems.append("resilience map: needs one amount per severity, and at least one")
        if np.any(np.diff((0.0, *self.severities)) <= 0):
            problems.append(f"resilience map: severities {self.severities} must increase from > 0")
        amounts = (0.0, *self.amounts_steps)
        if any(not a <= b for a, b in pairwise(amounts)):
            problems.append(f"resilience map: amounts {self.amounts_steps} must not decrease")
        if self.interpolation not in get_args(Interpolation):
            allowed = ", ".join(get_args(Interpolation))
            problems.append(f"interpolation: {self.interpolation!r} given; allowed: {allowed}")
        raise_problems(problems)

    @property
    def max_severity(self) -> float:
        """`p_max`: the last severity with a finite amount; beyond it a chip is unsalvageable."""
        finite = [
            s for s, a in zip(self.severities, self.amounts_steps, strict=True) if a < math.inf
        ]
        return finite[-1] if finite else 0.0

    def amount(self, severity: float) -> float:
        """Return the amount (whole optimizer steps) for `severity`, or inf beyond `max_severity`.

        >>> m = ResilienceMap(0.98, (0.1, 0.2, 0.3), (10, 30, math.inf))
        >>> m.amount(0.0), m.amount(0.15), m.amount(0.2), m.amount(0.21)
        (0.0, 20.0, 30.0, inf)
        """
        if not 0 <= severity <= 1:
            raise EfatError(f"severity: {severity!r} given; a number in [0, 1] is needed")
        if severity > self.max_severity:
            return math.inf
        grid, amounts = (0.0, *self.severities), (0.0, *self.amounts_steps)
        if self.interpolation == "ceil":
            return math.ceil(amounts[int(np.searchsorted(grid, severity))])
        right = int(np.searchsorted(grid, severity))
        if grid[right] == severity:
            return float(math.ceil(amounts[right]))
        share = (severity - grid[right - 1]) / (grid[right] - grid[right - 1])
        steps = amounts[right - 1] + share * (amounts[right] - amounts[right - 1])
        return float(math.ceil(steps - 1e-9))  # 20.000000000000004 is 20 steps, not 21


def build_resilience_map(
    curves: Sequence[ResilienceCurve],
    target: float,
    stat: Stat = "max",
    quantile: float = 0.9,
    interpolation: Interpolation = "linear",
    sustained: int = 1,
    monotone: Monotone = "envelope",
    severities: Mapping[float, Sequence[float]] | None = None,
) -> ResilienceMap:
    """Turn curves into a resilience map (METHOD section 5).

    For each fault rate: `stat` over the repeats' first crossings of `target`, at their mean
    severity. Then the amounts are made monotone over the rates.

    Args:
        curves: Curves of every fault rate and repeat; rates of 0 are not needed.
        target: Value `A*` of the metric.
        stat: `max` (safe), `mean`, `quantile`, or `conformal`: with probability `quantile` at
            least, a new fault map of the same rate needs no more (see `conformal_rank`).
        quantile: Used by `quantile` and `conformal`, in [0, 1]; between two repeats it is the
            higher one, since a crossing may be inf.
        interpolation: See `ResilienceMap`.
        sustained: See `ResilienceCurve.crossing`.
        monotone: `envelope` is the running maximum over severities. `isotonic`, for `mean` only, is
            the increasing least-squares fit to all crossings.
        severities: Severities of all fault maps of each fault rate; some may have no curve (see
            `amounts_of_rates`). None: all have one.

    Raises:
        EfatError: Too few repeats for `conformal`, or `isotonic` with another stat than `mean`.
    """
    check_monotone(monotone, stat)
    points: dict[float, float] = {}
    weights: dict[float, int] = {}
    severities = severities or _severities(curves)
    maps = {rate: len(repeats) for rate, repeats in severities.items()}
    for rate, amount in amounts_of_rates(curves, target, stat, quantile, sustained, maps).items():
        severity = severity_of_rate(severities[rate])
        points[severity] = max(amount, points.get(severity, 0.0))  # two rates, one severity
        weights[severity] = weights.get(severity, 0) + maps[rate]
    grid = sorted(points)
    amounts = [points[severity] for severity in grid]
    if monotone == "isotonic":
        amounts = _isotonic(amounts, [weights[severity] for severity in grid])
    else:
        amounts = np.maximum.accumulate(amounts).tolist()
    return ResilienceMap(target, tuple(grid), tuple(amounts), interpolation)


def severity_of_rate(severities: Sequence[float]) -> float:
    """Return the severity of a fault rate, given the severities of all its fault maps."""
    return mean(severities)  # exact for equal values


def amounts_of_rates(
    curves: Sequence[ResilienceCurve],
    target: float,
    stat: Stat,
    quantile: float,
    sustained: int,
    maps: Mapping[float, int],
) -> dict[float, float]:
    """Return `E` of each fault rate by itself; see `build_resilience_map`.

    A rate with fewer curves than `maps` is omitted, unless it is out of reach even if the missing
    ones need nothing: then `E` is inf whatever they need.
    """
    amounts = {}
    for rate in dict.fromkeys(curve.fault_rate for curve in curves):
        crossings = [c.crossing(target, sustained) for c in curves if c.fault_rate == rate]
        missing = maps[rate] - len(crossings)
        amount = _summarise(crossings + [0.0] * missing, stat, quantile)
        if not missing or amount == math.inf:
            amounts[rate] = amount
    return amounts


def _severities(curves: Sequence[ResilienceCurve]) -> dict[float, list[float]]:
    severities: dict[float, list[float]] = {}
    for curve in curves:
        severities.setdefault(curve.fault_rate, []).append(curve.severity)
    return severities


def check_monotone(monotone: Monotone, stat: Stat) -> None:
    """Check that amounts are averaged over fault rates only if they are means.

    Raises:
        EfatError: `isotonic` with another stat than `mean`.
    """
    if monotone == "isotonic" and stat != "mean":
        raise EfatError(
            f"selection.monotone: isotonic given; it averages over fault rates, so that amounts "
            f"would fall below what selection.stat={stat} stands for; use selection.stat=mean, or "
            "selection.monotone=envelope"
        )


def _isotonic(amounts: Sequence[float], weights: Sequence[int]) -> list[float]:
    """Return the increasing amounts nearest to `amounts` in weighted squares (Barlow, 1972).

    From the first inf on all are inf; amounts before it are not affected.

    >>> _isotonic([8.0, 24.0, 16.0, math.inf, 32.0], [1, 1, 1, 1, 1])
    [8.0, 20.0, 20.0, inf, inf]
    """
    finite = next((i for i, amount in enumerate(amounts) if amount == math.inf), len(amounts))
    fitted = isotonic_regression(amounts[:finite], weights=weights[:finite]).x if finite else []
    return [*map(float, fitted), *[math.inf] * (len(amounts) - finite)]


def conformal_rank(repeats: int, coverage: float) -> int:
    """Return the rank, from 1, of the sorted crossing that bounds a new one with `coverage`.

    If the fault maps of a rate and a new one are exchangeable, the new crossing is at most the
    `k`-th of `n` with probability `k / (n + 1)`, for any distribution (split conformal prediction:
    Vovk, Gammerman & Shafer, 2005). The rank is the least sufficient `k`. The probability is over
    the maps of the analysis too.

    Raises:
        EfatError: Even rank `n` does not suffice.

    >>> conformal_rank(9, 0.9), conformal_rank(30, 0.9)
    (9, 28)
    """
    rank = max(1, math.ceil((repeats + 1) * coverage - 1e-9))
    if rank > repeats:
        needed = "no number" if coverage == 1 else math.ceil(coverage / (1 - coverage) - 1e-9)
        raise EfatError(
            f"fault_rates.maps_per_rate: {repeats} given; selection.stat=conformal with "
            f"selection.quantile={coverage:g} needs at least {needed}"
        )
    return rank


def _summarise(crossings: Sequence[float], stat: Stat, quantile: float) -> float:
    if stat == "max":
        return max(crossings)
    if stat == "mean":
        return float(np.mean(crossings))
    if stat == "conformal":
        return sorted(crossings)[conformal_rank(len(crossings), quantile) - 1]
    return float(np.quantile(crossings, quantile, method="higher"))
