"""Which fault rates an analysis measures next: all of a grid, or those that bisection asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

Search = Literal["grid", "bisect"]


def next_rates(
    candidates: Sequence[float],
    amounts_steps: Mapping[float, float],
    search: Search,
    resolution_steps: float,
) -> tuple[float, ...]:
    """Return the rates of the next round; none once the resilience map is known.

    Bisection knows that no faults need nothing and takes what is beyond the candidates for out of
    reach. It halves every gap between neighbours whose amounts are more than `resolution_steps`
    apart, one of them possibly inf, and so finds `p_max` too: as amounts never decrease, those in
    the other gaps lie within `resolution_steps` of both ends.

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
