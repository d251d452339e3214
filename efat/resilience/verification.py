"""The verdict on a chip from its test accuracy, with an exact confidence interval."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from scipy.stats import binomtest

from efat.errors import EfatError
from efat.resilience.metric import Metric

Verdict = Literal["certified", "pass", "fail"]


@dataclass(frozen=True)
class Judgement:
    """The verdict on a chip, and the confidence interval that it rests on.

    Args:
        verdict: `certified`: the lower end of the interval meets the constraint; `pass`: the
            measured value does; `fail`: neither does.
        low: Lower end of the interval, a share in [0, 1]; None: the metric has none.
        high: Its upper end.
    """

    verdict: Verdict
    low: float | None = None
    high: float | None = None


def verification_note(
    confidence: float, samples: int | None, needed: int | None, metric: Metric
) -> str:
    """Return the sentence on how a chip is certified, or on why none can be."""
    if not metric.proportion:
        return f"No interval is given: {metric.name} is not a share of samples, each counted alike."
    least = f"it takes {needed} right" if needed else "no number of right ones is enough"
    return (
        f"certified: the exact {confidence:.0%} interval of {metric.name} (Clopper-Pearson, "
        f"{samples} test samples) is above the constraint, for which {least}."
    )


@dataclass(frozen=True)
class Verification:
    """The rule that gives each chip a verdict.

    The interval is two-sided and exact (Clopper & Pearson, 1934): over repeated splits of this
    size it contains the true share with at least this probability. It holds for one chip, with the
    target accuracy as a given number.

    Args:
        metric: The metric; an interval needs a proportion, a share of samples.
        samples: Samples of the split; None: unknown.
        confidence: Confidence of the interval, in (0, 1).

    Raises:
        EfatError: A confidence out of range.
    """

    metric: Metric
    samples: int | None
    confidence: float

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise EfatError(
                f"selection.confidence: {self.confidence!r} given; a number in (0, 1) is needed"
            )

    @property
    def has_interval(self) -> bool:
        """Whether the metric is a share of counted samples; else no chip can be certified."""
        return self.metric.proportion and bool(self.samples)

    def interval(self, value: float) -> tuple[float, float] | None:
        """Return the interval of a measured share, or None if there is none.

        >>> from efat.resilience.metric import ACCURACY
        >>> low, high = Verification(ACCURACY, 100, 0.95).interval(0.98)
        >>> round(low, 4), round(high, 4)
        (0.9296, 0.9976)
        """
        if not self.has_interval or not self.samples or not 0 <= value <= 1:
            return None
        test = binomtest(round(value * self.samples), self.samples)
        interval = test.proportion_ci(self.confidence, method="exact")
        return float(interval.low), float(interval.high)

    def judge(self, value: float, limit: float) -> Judgement:
        """Return the verdict on a measured value, given the target `limit`."""
        low, high = self.interval(value) or (None, None)
        if low is not None and self.metric.meets(low, limit):
            return Judgement("certified", low, high)
        return Judgement("pass" if self.metric.meets(value, limit) else "fail", low, high)

    def needed(self, limit: float) -> int | None:
        """Return how many samples must be right for a chip to be certified; None: not all suffice.

        >>> from efat.resilience.metric import ACCURACY
        >>> Verification(ACCURACY, 100, 0.95).needed(0.9), Verification(ACCURACY, 9, 0.95).needed(1)
        (96, None)
        """
        if not self.has_interval or not self.samples:
            return None
        counts = range(self.samples + 1)  # the lower end grows with the count
        shares = [right / self.samples for right in counts]
        least = bisect_left(
            shares, True, key=lambda share: self.judge(share, limit).verdict == "certified"
        )
        return least if least <= self.samples else None
