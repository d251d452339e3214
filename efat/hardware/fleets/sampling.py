"""Shared parts of the fleet generators: random chips, and checks of arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efat.errors import EfatError
from efat.hardware.chip import Fleet, name_chips
from efat.hardware.fault_map import FaultMap
from efat.hardware.mapping import SystolicArray
from efat.seeds import generator

Draw = Callable[[np.random.Generator], NDArray[np.bool_]]
"""Draws one chip: bool [rows, cols]."""


def draw_fault_map(array: SystolicArray, fault_rate: float, rng: np.random.Generator) -> FaultMap:
    """Draw a uniform fault map with exactly `round(fault_rate * rows * cols)` faulty PEs.

    Raises:
        EfatError: A rate outside [0, 1].
    """
    if not 0 <= fault_rate <= 1:
        raise EfatError(f"fault rate: {fault_rate!r} given; a number in [0, 1] is needed")
    return FaultMap(draw_exactly(array.rows, array.cols, fault_count(array, fault_rate), rng))


def draw_fleet(seed: int, chips: int, draw: Draw) -> Fleet:
    """Draw each chip of a fleet from a stream of its own."""
    maps = (FaultMap(draw(generator(seed, "fleet", i))) for i in range(chips))
    return name_chips(maps, chips)


def draw_exactly(rows: int, cols: int, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw `count` distinct faulty PEs (at most all), each set as likely as any other."""
    faulty = np.zeros(rows * cols, dtype=np.bool_)
    faulty[rng.choice(faulty.size, size=min(count, faulty.size), replace=False)] = True
    return faulty.reshape(rows, cols)


def fault_count(array: SystolicArray, rate: float) -> int:
    """Return the number of PEs closest to a rate."""
    return round(rate * array.rows * array.cols)


def chip_problems(chips: int) -> list[str]:
    """Return the problems of a number of chips."""
    return int_problems(1, chips=chips)


def int_problems(least: int, **values: Any) -> list[str]:
    """Return a problem per value that is no int of at least `least`."""
    return [
        f"fleet.{name}: {value!r} given; an int >= {least} is needed"
        for name, value in values.items()
        if type(value) is not int or value < least
    ]


def rate_problems(**rates: float) -> list[str]:
    """Return a problem per rate that is no number in [0, 1]; NaN is none."""
    return [
        f"fleet.{name}: {rate!r} given; a number in [0, 1] is needed"
        for name, rate in rates.items()
        if not isinstance(rate, int | float) or not 0 <= rate <= 1
    ]


def size_problems(**sizes: float) -> list[str]:
    """Return a problem per size that is no finite number above 0."""
    return [
        f"fleet.{name}: {size!r} given; a finite number > 0 is needed"
        for name, size in sizes.items()
        if not isinstance(size, int | float) or not 0 < size < math.inf
    ]
