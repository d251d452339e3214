"""Fleets with uniform positions of faults, of equal or of widely varying number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efat.errors import raise_problems
from efat.hardware.chip import Fleet, name_chips
from efat.hardware.fault_map import FaultMap
from efat.hardware.fleets.sampling import (
    chip_problems,
    draw_exactly,
    draw_fault_map,
    draw_fleet,
    rate_problems,
    size_problems,
)
from efat.hardware.mapping import SystolicArray
from efat.seeds import generator


def uniform_fleet(
    array: SystolicArray,
    seed: int,
    chips: int,
    fault_rate: float | Sequence[float],
    exact: bool = True,
) -> Fleet:
    """Draw chips with uniform faults: each PE is faulty with the same probability.

    Args:
        array: The array that all chips share.
        seed: The run's seed.
        chips: Number of chips.
        fault_rate: One rate for all chips, or `[low, high]`: evenly spaced rates, so that chip `i`
            of a larger fleet has another rate.
        exact: Exactly `round(fault_rate * PEs)` faults per chip; False: each PE fails independently
            (Bernoulli), so counts are binomial.

    Raises:
        EfatError: Fewer than one chip, or rates outside [0, 1] or out of order; all at once.
    """
    rates = [fault_rate, fault_rate] if isinstance(fault_rate, int | float) else list(fault_rate)
    problems = chip_problems(chips)
    if len(rates) != 2 or not all(0 <= rate <= 1 for rate in rates) or rates[0] > rates[-1]:
        problems.append(
            f"fleet.fault_rate: {fault_rate!r} given; one rate in [0, 1] or [low, high] is needed"
        )
    raise_problems(problems)

    def draw(rng: np.random.Generator, rate: float) -> FaultMap:
        if exact:
            return draw_fault_map(array, rate, rng)
        return FaultMap(rng.random((array.rows, array.cols)) < rate)

    per_chip = np.linspace(rates[0], rates[1], chips).tolist()
    maps = (draw(generator(seed, "fleet", i), rate) for i, rate in enumerate(per_chip))
    return name_chips(maps, chips)


def spread_fleet(
    array: SystolicArray, seed: int, chips: int, fault_rate: float, alpha: float
) -> Fleet:
    """Draw chips with overdispersed fault counts: Gamma-Poisson (negative binomial).

    A chip's expected count is Gamma distributed with shape `alpha`, its count Poisson, so counts
    have mean `mu` and variance `mu + mu**2 / alpha` (Stapper, 1973; Koren & Stapper, 1993).
    Positions are uniform. A count beyond the array is cut to the whole array, which lowers the mean
    (and variance) where `fault_rate` is high or `alpha` low: 4,000 chips of 16x16 PEs with `alpha`
    0.5 have a mean rate of 0.098 at `fault_rate` 0.1, 0.26 at 0.3 and 0.36 at 0.5.

    Args:
        array: The array.
        seed: The run's seed.
        chips: Number of chips.
        fault_rate: Mean rate `mu / PEs`, before counts are cut.
        alpha: Spread: 0.3-0.5 an immature process, 0.5-2 a mature one; large: nearly Poisson.

    Raises:
        EfatError: Values out of range; all at once.
    """
    raise_problems(
        chip_problems(chips) + rate_problems(fault_rate=fault_rate) + size_problems(alpha=alpha)
    )
    mean = fault_rate * array.rows * array.cols

    def draw(rng: np.random.Generator) -> NDArray[np.bool_]:
        count = rng.poisson(rng.gamma(alpha, mean / alpha))
        return draw_exactly(array.rows, array.cols, count, rng)

    return draw_fleet(seed, chips, draw)
