"""Costs of fault maps: any callable, or a table over the number of faults, which is fast."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from efat.errors import EfatError, raise_problems
from efat.hardware import FaultMap

Cost = Callable[[FaultMap], float]
"""Retraining amount (steps) that a fault map needs; inf beyond the resilience map."""

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK_WORDS = 1 << 18
"""Words of one block of unions: 2 MiB, which fits the second-level cache."""


def no_cost(fault_map: FaultMap) -> float:
    """Stand for the cost where there is no resilience map; calling it is a bug."""
    rate = fault_map.fault_rate  # a bug, not bad input
    raise AssertionError(f"{rate:.1%} faulty PEs: a cost was asked for, without a resilience map")


@dataclass(frozen=True, eq=False)
class CountCost:
    """A cost that sees only how many PEs are faulty (severity `array_rate`), as a table.

    With it, a planner prices whole blocks of unions by popcount instead of one at a time, and
    bounds the optimum by column generation. It is itself a `Cost`.

    Args:
        table: Amount (steps) for 0, 1, ..., rows * cols faults; never decreasing, inf at the end.

    Raises:
        EfatError: A NaN, a negative or a decreasing amount.

    >>> cost = CountCost.of(lambda rate: 100 * rate if rate <= 0.5 else float("inf"), 2, 2)
    >>> cost(FaultMap([[True, False], [False, False]])), cost.of_counts(np.array([2, 3])).tolist()
    (25.0, [50.0, inf])
    """

    table: Floats

    def __post_init__(self) -> None:
        table = np.array(self.table, dtype=np.float64)
        table.setflags(write=False)
        object.__setattr__(self, "table", table)
        problems = [
            f"cost: amount {table[i]} at {i} faults; a number >= 0 or inf is needed"
            for i in np.flatnonzero(~(table >= 0))[:5]
        ] + [
            f"cost: {table[i + 1]} steps at {i + 1} faults, but {table[i]} at {i}; more faults "
            "must not cost less: take the monotone envelope"
            for i in np.flatnonzero(table[1:] < table[:-1])[:5]
        ]
        raise_problems(problems)

    @classmethod
    def of(cls, amount: Callable[[float], float], rows: int, cols: int) -> CountCost:
        """Tabulate `amount` (steps, of an array rate in [0, 1]) for an array of rows x cols."""
        pes = rows * cols
        return cls(np.array([amount(count / pes) for count in range(pes + 1)], dtype=np.float64))

    def __call__(self, fault_map: FaultMap) -> float:
        """Return the amount (steps) for one map."""
        if fault_map.rows * fault_map.cols != len(self.table) - 1:
            raise EfatError(
                f"cost: made for {len(self.table) - 1} PEs, asked for a map of "
                f"{fault_map.rows}x{fault_map.cols}; use CountCost.of with the array of the chips"
            )
        return float(self.table[fault_map.fault_count])

    def of_counts(self, counts: Ints) -> Floats:
        """Return the amounts (steps) for fault counts of any shape."""
        amounts: Floats = self.table[counts]
        return amounts

    @property
    def max_count(self) -> int:
        """The largest number of faults with a finite amount, or -1."""
        return int(np.searchsorted(self.table, math.inf)) - 1


def count_faults(words: Words) -> Ints:
    """Count the faults of packed maps [n, words]."""
    counts: Ints = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
    return counts


def union_counts(one: Words, others: Words) -> Ints:
    """Count the faults of the unions of one map [words] with each of `others` [n, words].

    Computes block by block, so that memory stays small and each block stays in the cache.

    >>> union_counts(np.array([3], np.uint64), np.array([[4], [1]], np.uint64)).tolist()
    [3, 2]
    """
    n, width = others.shape
    rows = max(1, BLOCK_WORDS // width)
    counts = np.empty(n, dtype=np.int64)
    fused = np.empty((min(rows, n), width), dtype=np.uint64)
    bits = np.empty(fused.shape, dtype=np.uint8)
    for start in range(0, n, rows):
        size = min(rows, n - start)
        np.bitwise_or(others[start : start + size], one, out=fused[:size])
        np.bitwise_count(fused[:size], out=bits[:size])
        counts[start : start + size] = bits[:size].sum(axis=1, dtype=np.uint32)
    return counts


def shared_counts(words: Words) -> Ints:
    """Count the faults that each pair of packed maps [maps, words] shares [maps, maps].

    >>> shared_counts(np.array([[3], [6]], np.uint64)).tolist()
    [[2, 1], [1, 2]]
    """
    counts = count_faults(words)
    shared = np.diag(counts)
    for i in range(len(words) - 1):
        row = counts[i] + counts[i + 1 :] - union_counts(words[i], words[i + 1 :])
        shared[i, i + 1 :] = shared[i + 1 :, i] = row
    return shared
