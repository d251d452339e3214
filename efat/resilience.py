"""From accuracy-against-amount curves to the retraining amount of a chip (METHOD sections 4, 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from efat.errors import EfatError, raise_problems

Stat = Literal["max", "mean", "quantile"]
Interpolation = Literal["linear", "ceil"]


@dataclass(frozen=True)
class ResilienceCurve:
    """Validation accuracy of one masked network against its amount of retraining.

    Args:
        fault_rate: Array fault rate of the grid point, in [0, 1].
        repeat: Which of the random maps at that rate.
        severity: Severity of the map actually drawn, on the axis of the resilience map.
        amount_steps: Amounts at which accuracy was recorded, in optimizer steps, from 0 upwards.
        accuracy: Validation accuracy at each amount, in [0, 1].
    """

    fault_rate: float
    repeat: int
    severity: float
    amount_steps: tuple[int, ...]
    accuracy: tuple[float, ...]

    def __post_init__(self) -> None:
        steps = self.amount_steps
        if len(steps) != len(self.accuracy) or not steps or steps[0] != 0:
            raise EfatError("curve: needs one accuracy per amount, the first at amount 0")
        if any(later <= earlier for earlier, later in pairwise(steps)):
            raise EfatError("curve: amounts must increase")

    def crossing(self, target: float) -> float:
        """Return the first recorded amount (steps) that reaches `target`, or inf if none does.

        >>> curve = ResilienceCurve(0.1, 0, 0.1, (0, 4, 8), (0.5, 0.97, 0.96))
        >>> curve.crossing(0.96), curve.crossing(0.98)
        (4.0, inf)
        """
        reached = (
            float(step)
            for step, accuracy in zip(self.amount_steps, self.accuracy, strict=True)
            if accuracy >= target
        )
        return next(reached, math.inf)


@dataclass(frozen=True)
class ResilienceMap:
    """Retraining amount against severity, for one accuracy constraint.

    Args:
        target: The accuracy `A*` to reach on validation, in [0, 1].
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
) -> ResilienceMap:
    """Turn curves into a resilience map (METHOD section 5).

    Per fault rate, `stat` over the repeats' first crossings of `target`, at the mean severity of
    the repeats; then the monotone envelope over the rates.

    Args:
        curves: Curves of every fault rate and repeat; rates of 0 are not needed.
        target: Accuracy `A*`, in [0, 1].
        stat: `max` (safe), `mean`, or `quantile`.
        quantile: Used by `stat="quantile"`, in [0, 1]; never interpolates between two repeats but
            takes the higher one, since a crossing may be inf.
        interpolation: See `ResilienceMap`.
    """
    points: dict[float, float] = {}
    for rate in {curve.fault_rate for curve in curves}:
        repeats = [curve for curve in curves if curve.fault_rate == rate]
        crossings = [curve.crossing(target) for curve in repeats]
        severity = float(np.mean([curve.severity for curve in repeats]))
        amount = _summarise(crossings, stat, quantile)
        points[severity] = max(amount, points.get(severity, 0.0))  # two rates, one severity
    severities = sorted(points)
    envelope = np.maximum.accumulate([points[severity] for severity in severities])
    return ResilienceMap(target, tuple(severities), tuple(envelope.tolist()), interpolation)


def _summarise(crossings: Sequence[float], stat: Stat, quantile: float) -> float:
    if stat == "max":
        return max(crossings)
    if stat == "mean":
        return float(np.mean(crossings))
    return float(np.quantile(crossings, quantile, method="higher"))


@dataclass(frozen=True)
class Constraint:
    """The accuracy to keep: no more than a drop below the baseline, or an absolute accuracy.

    Args:
        max_drop: Accepted drop below the baseline, in [0, 1); None where `min_accuracy` is given.
        min_accuracy: Absolute accuracy, in [0, 1]; None where `max_drop` is given.

    Raises:
        EfatError: Both or none given, or a value out of range; all problems at once.
    """

    max_drop: float | None = None
    min_accuracy: float | None = None

    def __post_init__(self) -> None:
        values = {"max_drop": self.max_drop, "min_accuracy": self.min_accuracy}
        problems = [
            f"selection.{name}: {value!r} given; a number in [0, 1] is needed"
            for name, value in values.items()
            if value is not None and not 0 <= value <= 1
        ]
        if (self.max_drop is None) == (self.min_accuracy is None):
            problems.append(
                f"selection: max_drop is {self.max_drop} and min_accuracy is {self.min_accuracy}; "
                "give one of them and set the other to null"
            )
        raise_problems(problems)

    def target(self, baseline_accuracy: float) -> float:
        """Return `A*` for a baseline measured on the same split, in [0, 1].

        >>> Constraint(max_drop=0.5).target(0.75), Constraint(min_accuracy=0.5).target(0.75)
        (0.25, 0.5)
        """
        if self.min_accuracy is not None:
            return self.min_accuracy
        return baseline_accuracy - (self.max_drop or 0.0)
