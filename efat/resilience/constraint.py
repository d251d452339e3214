"""The accuracy constraint: amounts, plans and chips are judged by it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from efat.errors import checked
from efat.resilience.metric import ACCURACY, Metric


@checked("selection")
class Constraint:
    """The accuracy to keep: at most a drop below the baseline, or an absolute value of the metric.

    Args:
        max_drop: Accepted loss from the baseline, in the metric's unit; None where
            `limit` is given.
        limit: Absolute value to reach; None where `max_drop` is given.
        metric: The metric of both.

    Raises:
        EfatError: Both or none given, or a value out of range; all problems at once.
    """

    max_drop: float | None = None
    limit: float | None = None
    metric: Metric = ACCURACY

    def problems(self) -> Iterator[str]:
        """Yield the values out of the metric's range, and whether not exactly one is given."""
        high = math.inf if self.metric.high is None else self.metric.high
        least = -math.inf if self.metric.low is None else self.metric.low
        for name, value, low in (("max_drop", self.max_drop, 0.0), ("limit", self.limit, least)):
            if value is not None and not (low <= value <= high and math.isfinite(value)):
                allowed = f"[{low:g}, {high:g}]"
                yield f"selection.{name}: {value!r} given; a number in {allowed} is needed"
        if (self.max_drop is None) == (self.limit is None):
            yield (
                f"selection: max_drop is {self.max_drop} and limit is {self.limit}; "
                "give one of them and set the other to null"
            )

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
