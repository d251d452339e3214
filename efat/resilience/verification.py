"""What a measurement on samples that decided nothing says about a chip, and how surely."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import partial
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
    """How chips are verified.

    The interval is two-sided and exact (Clopper & Pearson, 1934): over repeated draws of as many
    samples it holds the true share with at least this probability. It is about one chip, and takes
    the constraint as a given number.

    Args:
        metric: What is measured; an interval needs a proportion, a share of samples.
        samples: Samples of the split; None: not counted.
        confidence: Of the interval, in (0, 1).

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
        """Whether the metric is a share of counted samples; else nothing can be verified."""
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
        found = test.proportion_ci(self.confidence, method="exact")
        return float(found.low), float(found.high)

    def judge(self, value: float, limit: float) -> Judgement:
        """Judge a measured value by the constraint."""
        found, met = self.interval(value), self.metric.meets(value, limit)
        if found is None:
            return Judgement("pass" if met else "fail")
        if self.metric.meets(found[0], limit):
            return Judgement("certified", *found)
        return Judgement("pass" if met else "fail", *found)

    def needed(self, limit: float) -> int | None:
        """Return how many samples must be right for a chip to be certified; None: not all suffice.

        >>> from efat.resilience.metric import ACCURACY
        >>> Verification(ACCURACY, 100, 0.95).needed(0.9), Verification(ACCURACY, 9, 0.95).needed(1)
        (96, None)
        """
        if not self.has_interval or not self.samples:
            return None
        counts = range(self.samples + 1)  # the lower end grows with the number of right ones
        shares = [right / self.samples for right in counts]
        least = bisect_left(shares, True, key=partial(self._suffices, limit))
        return least if least <= self.samples else None

    def _suffices(self, limit: float, share: float) -> bool:
        return self.judge(share, limit).verdict == "certified"
