"""Fleets with patterned faults: whole rows and columns, shared sites, and mixtures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from efat.errors import raise_problems
from efat.hardware.chip import Fleet, check_array, name_chips
from efat.hardware.fleets.sampling import (
    chip_problems,
    draw_exactly,
    draw_fleet,
    fault_count,
    rate_problems,
)
from efat.hardware.mapping import SystolicArray
from efat.seeds import derive, generator


def line_fleet(
    array: SystolicArray, seed: int, chips: int, row_rate: float, col_rate: float
) -> Fleet:
    """Draw chips with faulty rows and columns (a broken operand or partial-sum wire).

    Each row fails with probability `row_rate`, each column with `col_rate`, all independent, so the
    mean fault rate is `1 - (1 - row_rate) * (1 - col_rate)`.

    Raises:
        EfatError: Values out of range; all at once.
    """
    raise_problems(chip_problems(chips) + rate_problems(row_rate=row_rate, col_rate=col_rate))

    def draw(rng: np.random.Generator) -> NDArray[np.bool_]:
        rows, cols = rng.random(array.rows) < row_rate, rng.random(array.cols) < col_rate
        return np.asarray(np.logical_or.outer(rows, cols))

    return draw_fleet(seed, chips, draw)


def systematic_fleet(
    array: SystolicArray,
    seed: int,
    chips: int,
    site_rate: float,
    presence: float = 1.0,
    fault_rate: float = 0.0,
) -> Fleet:
    """Draw chips that share weak sites (a systematic defect: mask, layout, lens).

    `round(site_rate * PEs)` sites are drawn once for the fleet. On each chip each of them fails
    with probability `presence`, and every PE fails with probability `fault_rate` besides, so the
    mean rate is `1 - (1 - site_rate * presence) * (1 - fault_rate)`.

    Args:
        array: The array.
        seed: The run's seed.
        chips: Number of chips.
        site_rate: Share of PEs that are weak sites.
        presence: Probability that a weak site fails on a chip.
        fault_rate: Rate of the faults that are independent from chip to chip.

    Raises:
        EfatError: Values out of range; all at once.
    """
    rates = {"site_rate": site_rate, "presence": presence, "fault_rate": fault_rate}
    raise_problems(chip_problems(chips) + rate_problems(**rates))
    shape = (array.rows, array.cols)
    sites = draw_exactly(*shape, fault_count(array, site_rate), generator(seed, "fleet", "sites"))

    def draw(rng: np.random.Generator) -> NDArray[np.bool_]:
        return (sites & (rng.random(shape) < presence)) | (rng.random(shape) < fault_rate)

    return draw_fleet(seed, chips, draw)


def mixture_fleet(
    array: SystolicArray,
    seed: int,
    chips: int,
    parts: Sequence[Callable[..., Fleet]],
    weights: Sequence[float],
) -> Fleet:
    """Draw each chip from one of several generators, chosen with probability by weight.

    Args:
        array: The array.
        seed: The run's seed.
        chips: Number of chips in all.
        parts: Generators, each called as `part(array, seed, chips)`; e.g. a `partial`.
        weights: One per part, at least 0, not all 0.

    Raises:
        EfatError: Fewer than one chip, or weights that do not fit the parts; all at once.
    """
    problems = chip_problems(chips)
    total = math.fsum(weights)
    if len(weights) != len(parts) or not all(w >= 0 for w in weights) or not 0 < total < math.inf:
        problems.append(
            f"fleet.weights: {list(weights)!r} given for {len(parts)} parts; one number >= 0 per "
            "part is needed, not all of them 0"
        )
    raise_problems(problems)
    shares = np.asarray(weights) / total
    chosen = [int(generator(seed, "mixture", i).choice(len(parts), p=shares)) for i in range(chips)]
    streams = [
        iter(part(array, derive(seed, "mixture part", j), chosen.count(j)))
        for j, part in enumerate(parts)
        if j in chosen
    ]
    index = {j: at for at, j in enumerate(sorted(set(chosen)))}
    fleet = name_chips((next(streams[index[j]]).fault_map for j in chosen), chips)
    return check_array(fleet, array, "mixture")
