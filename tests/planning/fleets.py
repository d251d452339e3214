"""Small fleets of every kind and published-shape costs, for the contract tables."""

from __future__ import annotations

import math

import numpy as np

from efat.hardware import FaultMap
from efat.hardware.chip import Chip
from efat.planning.cost import CountCost


def uniform(rng, side, low=0.02, high=0.15):
    return rng.random((side, side)) < rng.uniform(low, high)


def clustered(rng, side):
    grid = np.zeros((side, side), dtype=bool)
    for _ in range(rng.poisson(3) + 1):
        centre = rng.integers(0, side, 2)
        spots = np.rint(centre + rng.normal(0, side / 16, (max(4, side * side // 80), 2))).astype(
            int
        )
        spots = spots[(spots >= 0).all(1) & (spots < side).all(1)]
        grid[spots[:, 0], spots[:, 1]] = True
    return grid


def lines(rng, side):
    grid = uniform(rng, side, 0.0, 0.02)
    grid[rng.choice(side, rng.integers(0, max(2, side // 16)), replace=False)] = True
    grid[:, rng.choice(side, rng.integers(0, max(2, side // 16)), replace=False)] = True
    return grid


def systematic(rng, side):
    """Two weak spots of the process that many chips share, and little noise."""
    fixed = np.random.default_rng(7)
    spots = [fixed.random((side, side)) < 0.08 for _ in range(3)]
    grid = uniform(rng, side, 0.0, 0.03)
    for spot in spots:
        if rng.random() < 0.5:
            grid |= spot & (rng.random((side, side)) < 0.95)
    return grid


KINDS = {"uniform": uniform, "clustered": clustered, "lines": lines, "systematic": systematic}


def fleet(kind: str, n: int, side: int = 16, seed: int = 0) -> list[Chip]:
    rng = np.random.default_rng([seed, n, side, sorted(KINDS).index(kind)])
    return [Chip(f"c{i:05d}", FaultMap(KINDS[kind](rng, side))) for i in range(n)]


def concave(rate: float) -> float:
    return math.ceil(1000 * rate**0.5) if rate <= 0.4 else math.inf


def convex_end(rate: float) -> float:
    return math.ceil(200 * rate + 20 * math.expm1(12 * rate)) if rate <= 0.4 else math.inf


def floored(rate: float) -> float:
    return max(50.0, math.ceil(2000 * rate**2)) * (rate > 0) if rate <= 0.4 else math.inf


CURVES = {"concave": concave, "convex_end": convex_end, "floored": floored}


def table_cost(name: str, side: int) -> CountCost:
    return CountCost.of(CURVES[name], side, side)
