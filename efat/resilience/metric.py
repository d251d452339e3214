"""The metric of the constraint: accuracy, or any other measure of a network's quality."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """Name, direction and range of a metric.

    Args:
        name: Shown in tables and figures.
        higher_is_better: False for errors.
        low: Least possible value; None if there is none.
        high: Greatest possible value; None if there is none.
        proportion: Whether it is the share of correct samples, with equal weights, so that it has a
            binomial interval; errors and means over classes or pixels have none.
    """

    name: str = "accuracy"
    higher_is_better: bool = True
    low: float | None = 0.0
    high: float | None = 1.0
    proportion: bool = False

    @property
    def is_share(self) -> bool:
        """Whether it is in [0, 1] and shown in percent."""
        return (self.low, self.high) == (0.0, 1.0)

    @property
    def label(self) -> str:
        """Name and unit, for an axis.

        >>> Metric().label, Metric("mse", False, 0, None).label
        ('accuracy (%)', 'mse')
        """
        return f"{self.name} (%)" if self.is_share else self.name

    def meets(self, value: float, limit: float) -> bool:
        """Return whether `value` is at least as good as `limit`; NaN is not.

        >>> Metric().meets(0.9, 0.8), Metric("mse", higher_is_better=False).meets(0.9, 0.8)
        (True, False)
        """
        return value >= limit if self.higher_is_better else value <= limit

    def worsened(self, value: float, drop: float) -> float:
        """Return the value that is `drop` worse than `value`."""
        return value - drop if self.higher_is_better else value + drop

    def worst(self, values: Iterable[float]) -> float:
        """Return the worst of some values."""
        return min(values) if self.higher_is_better else max(values)

    def show(self, value: float, digits: int = 2) -> str:
        """Return a value with its unit, as text.

        >>> Metric().show(0.975), Metric("mse", False, 0, None).show(0.975)
        ('97.50%', '0.975')
        """
        return f"{value:.{digits}%}" if self.is_share else f"{value:.{digits + 2}g}"


KEPT = 0.002
"""Largest loss of a share by hardening that counts as no loss: 0.2 points."""


def kept_note(metric: Metric, before: float, after: float) -> str:
    """Return a text on the change of a metric: within 0.2 points, or the loss.

    >>> kept_note(Metric(), 0.99, 0.989), kept_note(Metric(), 0.99, 0.985)
    ('kept within 0.2 points', '0.50 points worse than the baseline')
    >>> kept_note(Metric("mse", False, 0, None), 1.0, 1.5)
    '0.5 worse than the baseline'
    """
    worse = before - after if metric.higher_is_better else after - before
    if metric.is_share and worse <= KEPT + 1e-9:
        return "kept within 0.2 points"
    if worse <= 0:
        return "not worse than the baseline"
    amount = f"{100 * worse:.2f} points" if metric.is_share else f"{worse:.3g}"
    return f"{amount} worse than the baseline"


ACCURACY = Metric(proportion=True)
