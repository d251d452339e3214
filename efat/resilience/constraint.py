"""What accuracy to keep: the constraint that amounts, plans and chips are judged by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from efat.errors import raise_problems
from efat.resilience.metric import ACCURACY, Metric


@dataclass(frozen=True)
class Constraint:
    """What to keep: no more than a drop below the baseline, or an absolute value of the metric.

    Args:
        max_drop: How much worse than the baseline is accepted, in the metric's unit; None where
            `limit` is given.
        limit: Absolute value to reach; None where `max_drop` is given.
        metric: The metric that both are about.

    Raises:
        EfatError: Both or none given, or a value out of range; all problems at once.
    """

    max_drop: float | None = None
    limit: float | None = None
    metric: Metric = ACCURACY

    def __post_init__(self) -> None:
        widest = math.inf if self.metric.high is None else self.metric.high
        least = -math.inf if self.metric.low is None else self.metric.low
        problems = [
            f"selection.{name}: {value!r} given; a number in [{low:g}, {high:g}] is needed"
            for name, value, low, high in (
                ("max_drop", self.max_drop, 0.0, widest),
                ("limit", self.limit, least, widest),
            )
            if value is not None and not (low <= value <= high and math.isfinite(value))
        ]
        if (self.max_drop is None) == (self.limit is None):
            problems.append(
                f"selection: max_drop is {self.max_drop} and limit is {self.limit}; "
                "give one of them and set the other to null"
            )
        raise_problems(problems)

    def target(self, baseline: float) -> float:
        """Return `A*` for a baseline measured on the same split.

        >>> Constraint(max_drop=0.5).target(0.75), Constraint(limit=0.5).target(0.75)
        (0.25, 0.5)
        >>> Constraint(0.5, metric=Metric("mse", False, 0, None)).target(0.75)
        1.25
        """
        if self.limit is not None:
            return self.limit
        return self.metric.worsened(baseline, self.max_drop or 0.0)
