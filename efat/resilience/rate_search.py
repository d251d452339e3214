"""Choose the next curves of an analysis: the whole grid, or those of a bisection."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from efat.resilience.resilience_map import ResilienceCurve

Search = Literal["grid", "bisect"]


@dataclass(frozen=True)
class RateGrid:
    """The grid of a resilience analysis and the search over it.

    Args:
        fault_rates: Array fault rates, increasing, in (0, 1].
        maps_per_rate: Random fault maps at each of them.
        curve_points: Evaluations of a curve that uses the whole budget.
        search: `grid` measures all fault rates, `bisect` those that bisection needs.
        max_cost: Largest share of the whole grid's evaluations, and so of its steps, since a curve
            has one more evaluation than intervals; None: no limit. With a limit the fault maps of a
            fault rate are measured one after the other.
        repairs: Whether each curve begins with a repair; then the limit holds for repairs too.
    """

    fault_rates: tuple[float, ...]
    maps_per_rate: int
    curve_points: int
    search: Search = "grid"
    max_cost: float | None = None
    repairs: bool = False

    @property
    def curves(self) -> int:
        """Curves of the whole grid."""
        return len(self.fault_rates) * self.maps_per_rate

    def next_curves(
        self,
        curves: Sequence[ResilienceCurve],
        amounts_steps: Mapping[float, float],
        resolution_steps: float,
    ) -> tuple[tuple[float, int], ...]:
        """Return fault rate and repeat of each curve of the next round; none: the search is over.

        With `max_cost` a round takes one more fault map of each of its fault rates, the highest
        first, until their amounts are known. A rate that is out of reach whatever its other maps
        need gets no more. Without `max_cost` a round takes all maps of its rates, in parallel.

        Args:
            curves: The recorded curves.
            amounts_steps: `E` at each fault rate whose amount follows from them, in optimizer
                steps.
            resolution_steps: See `next_rates`.
        """
        recorded = Counter(curve.fault_rate for curve in curves)
        begun = sorted(recorded.keys() - amounts_steps.keys())
        rates = begun or next_rates(self.fault_rates, amounts_steps, self.search, resolution_steps)
        if self.max_cost is None:
            return tuple((rate, repeat) for rate in rates for repeat in range(self.maps_per_rate))
        one_each = tuple((rate, recorded[rate]) for rate in rates[::-1])
        return one_each[: self._room(self.max_cost, curves)]

    def _room(self, max_cost: float, curves: Sequence[ResilienceCurve]) -> int:
        """Return how many more curves the limit allows, each for the whole budget."""
        allowed, spent = max_cost * self.curves, sum(len(curve.metric) for curve in curves)
        room = int(allowed - spent / self.curve_points + 1e-9)
        return min(room, int(allowed + 1e-9) - len(curves)) if self.repairs else room


def highest_within_reach(
    severities: Mapping[float, float], amounts_steps: Mapping[float, float]
) -> float:
    """Return the largest severity that the resilience map of the whole grid can reach.

    Amounts never decrease, so the map ends before any fault rate that is out of reach.

    Args:
        severities: Severity of each rate of the grid.
        amounts_steps: `E` at each fault rate whose amount is known, in optimizer steps.

    >>> highest_within_reach({0.1: 0.1, 0.2: 0.2, 0.3: 0.3}, {0.1: 8, 0.3: math.inf})
    0.2
    """
    out_of_reach = [
        severities[rate] for rate, amount in amounts_steps.items() if amount == math.inf
    ]
    end = min(out_of_reach, default=math.inf)
    return max((severity for severity in severities.values() if severity < end), default=0.0)


def next_rates(
    candidates: Sequence[float],
    amounts_steps: Mapping[float, float],
    search: Search,
    resolution_steps: float,
) -> tuple[float, ...]:
    """Return the rates of the next round; none once the resilience map is known.

    Bisection starts from amount 0 without faults and inf beyond the candidates. It halves every gap
    between neighbours whose amounts differ by more than `resolution_steps` (one may be inf), so it
    finds `p_max` too. Amounts never decrease, so those in the other gaps are within
    `resolution_steps` of both ends.

    Args:
        candidates: Fault rates that may be measured, increasing.
        amounts_steps: `E` at each rate measured so far, in optimizer steps.
        search: `grid` measures all candidates in one round.
        resolution_steps: Optimizer steps between two points of a curve.

    >>> next_rates((0.1, 0.2, 0.3, 0.4), {}, "grid", 8)
    (0.1, 0.2, 0.3, 0.4)
    >>> next_rates((0.1, 0.2, 0.3, 0.4), {}, "bisect", 8)
    (0.2,)
    >>> next_rates((0.1, 0.2, 0.3, 0.4), {0.2: 16.0}, "bisect", 8)
    (0.1, 0.3)
    >>> next_rates((0.1, 0.2, 0.3, 0.4), {0.1: 8.0, 0.2: 16.0, 0.3: math.inf}, "bisect", 8)
    ()
    """
    if search == "grid":
        return () if amounts_steps else tuple(candidates)
    known = {i: amounts_steps[rate] for i, rate in enumerate(candidates) if rate in amounts_steps}
    known = {-1: 0.0, **known, len(candidates): math.inf}
    return tuple(
        candidates[(low + high) // 2]
        for low, high in pairwise(known)
        if high - low > 1 and known[high] > known[low] + resolution_steps
    )
