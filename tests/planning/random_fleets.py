"""Random fleets and costs, and which of them are left to the slow tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from efat.hardware import FaultMap
from efat.hardware.chip import Chip
from efat.planning.cost import CountCost
from tests.planning.fleets import KINDS

SLOW = pytest.mark.slow


ONE_KIND = ["lines", *(pytest.param(kind, marks=SLOW) for kind in KINDS if kind != "lines")]
"""The others are left to `make test-all`."""


def random_fleet(rng: np.random.Generator, n: int, rates: float) -> list[Chip]:
    """Small maps with shared, nested and equal parts."""
    shared = rng.random((3, 5, 6)) < rates
    maps = [rng.random((5, 6)) < rates * rng.random() for _ in range(n)]
    maps = [m | shared[rng.integers(3)] if rng.random() < 0.5 else m for m in maps]
    return [Chip(f"c{i}", FaultMap(m)) for i, m in enumerate(maps)]


def random_cost(rng: np.random.Generator) -> CountCost:
    bend = np.maximum(np.arange(31), 1.0) ** rng.choice([-1.0, 0.0, 1.0, 2.0])
    steps = np.cumsum(np.ceil(rng.integers(0, 6, 31) * (rng.random(31) < 0.6) * bend))
    steps[rng.integers(14, 31) :] = math.inf
    return CountCost(steps)


def structured_fleet(rng: np.random.Generator, n: int) -> list[Chip]:
    """Maps of 12x12 PEs with whole rows, blocks and spots that many of them have in common."""
    spots = rng.random((2, 12, 12)) < 0.15
    maps = rng.random((n, 12, 12)) < rng.uniform(0.0, 0.1, (n, 1, 1))
    for grid in maps:
        for spot in spots[rng.random(2) < 0.5]:
            grid |= spot & (rng.random((12, 12)) < 0.95)
        grid[rng.integers(0, 12, rng.integers(0, 3))] = True
        top, left = rng.integers(0, 9, 2)
        grid[top : top + rng.integers(0, 4), left : left + 3] = True
    return [Chip(f"c{i}", FaultMap(grid)) for i, grid in enumerate(maps)]


def rising_cost(rng: np.random.Generator, pes: int) -> CountCost:
    """A floor, a power and an end."""
    rates = np.arange(pes + 1) / pes
    table = np.ceil(np.maximum(rng.integers(0, 60), 400 * rates ** rng.choice([0.5, 1.0, 2.0])))
    table[0] = 0.0
    table[int(pes * rng.uniform(0.5, 1.0)) :] = math.inf
    return CountCost(table)


def seeds(quick: int, all_of_them: int) -> list[Any]:
    """The first few in every run, the others with the slow tests."""
    slow = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(quick, all_of_them)]
    return [*range(quick), *slow]
