"""List every group of finite price: exact pricing for fleets whose maps soon fill the array.

A union only grows, so a group beyond the resilience map has no listed extension. Groups grow level
by level, each by chips that come after its last one, so that every group is listed once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efat.planning.bounds.column_generation import Columns
from efat.planning.cost import BLOCK_WORDS, Floats, Ints, Words
from efat.planning.merge_forest import ChipIndices
from efat.planning.problem import Problem

MOST_GROUPS = 1_000_000
"""Most groups that are listed."""
MOST_WORDS = 1 << 24
"""Most words of one level of unions: 128 MiB."""
NEW_COLUMNS = 400
"""Groups added to the relaxation at a time."""


@dataclass(frozen=True)
class Level:
    """Groups of one size: `parent` [groups] indexes the level before, `last` is the new chip."""

    parent: Ints
    last: Ints
    prices: Floats


@dataclass(frozen=True)
class Listing:
    """All groups of finite price, by size."""

    levels: tuple[Level, ...]

    @property
    def prices(self) -> Floats:
        """Prices of all groups, small groups first [groups]."""
        return np.concatenate([level.prices for level in self.levels])

    def sums(self, values: Floats) -> Floats:
        """Sum values [chips] over the members of every group [groups]."""
        sums = [values[self.levels[0].last]]
        for level in self.levels[1:]:
            sums.append(sums[-1][level.parent] + values[level.last])
        return np.concatenate(sums)

    def members(self, group: int) -> ChipIndices:
        """Return the chips of a group, indexed as in `prices`."""
        size = 0
        while group >= len(self.levels[size].last):
            group -= len(self.levels[size].last)
            size += 1
        chips = []
        for level in reversed(self.levels[: size + 1]):
            chips.append(int(level.last[group]))
            group = int(level.parent[group])
        return tuple(reversed(chips))


def list_groups(problem: Problem) -> Listing | None:
    """List all groups of finite price, or return None if they are too many.

    Args:
        problem: At least one chip, under a `CountCost`.
    """
    n, chips = len(problem), np.arange(len(problem))
    levels = [Level(chips, chips, problem.single_prices)]
    fused, total = problem.words, n
    for _ in range(1, problem.max_members):
        grown = _grow(problem, fused, levels[-1].last, MOST_GROUPS - total)
        if grown is None:
            return None
        level, fused = grown
        if not len(level.last):
            break
        levels.append(level)
        total += len(level.last)
    return Listing(tuple(levels))


def _grow(problem: Problem, fused: Words, last: Ints, most: int) -> tuple[Level, Words] | None:
    """Extend every group of a level [groups, words] by each chip after its last one."""
    cost, (n, width) = problem.count_cost, problem.words.shape
    rows = max(1, BLOCK_WORDS // (n * width))
    blocks: list[tuple[Ints, Ints, Floats, Words]] = []
    for start in range(0, len(fused), rows):
        block = slice(start, start + rows)
        unions = fused[block, None, :] | problem.words
        counts = np.bitwise_count(unions).sum(axis=2, dtype=np.int64)
        after = np.arange(n) > last[block, None]
        group, chip = np.nonzero(after & (counts <= cost.max_count))
        prices = problem.rules.prices(cost.of_counts(counts[group, chip]))
        blocks.append((group + start, chip, prices, unions[group, chip]))
        most -= len(group)
        if most < 0 or sum(len(part[0]) for part in blocks) * width > MOST_WORDS:
            return None
    parent, new, prices, words = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Level(parent, new, prices), words


def solve(listing: Listing, columns: Columns) -> tuple[Floats, float]:
    """Solve the relaxation over all listed groups, adding them to `columns` where needed.

    Returns:
        Dual values [chips], and the bound that they prove: with `worst = min c(G) - u(G)` over
        all groups and n chips, so n groups at the most, `sum u + n min(worst, 0)` is a bound.
    """
    prices = listing.prices
    best: tuple[Floats, float] = (np.zeros(0), -np.inf)
    while True:
        values = columns.values()
        reduced = prices - listing.sums(values)
        bound = float(values.sum() + len(values) * min(float(reduced.min()), 0.0))
        if bound > best[1]:
            best = values, bound
        lowest = np.argpartition(reduced, min(NEW_COLUMNS, len(reduced) - 1))[:NEW_COLUMNS]
        new_groups = [listing.members(int(i)) for i in lowest if reduced[i] < -1e-7]
        if not columns.add(new_groups):
            return best
