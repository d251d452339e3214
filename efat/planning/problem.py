"""Prepare a fleet for planning: check, sort and bit-pack it; price its maps in blocks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from efat.errors import EfatError, raise_problems
from efat.hardware import Chip, FaultMap
from efat.planning.cost import Cost, CountCost, Floats, Ints, Words, count_faults, union_counts
from efat.planning.plan import Group
from efat.planning.rules import Rules


@dataclass(frozen=True, eq=False)
class Problem:
    """The chips that a planner may group.

    Args:
        names: Names of the chips, sorted.
        words: Their packed fault maps [chips, words].
        shape: Rows and columns of the array.
        cost: Retraining amount (steps) of a map.
        rules: Limits and prices.
        alone: Groups of the chips that must stay alone, which no planner gets.
        unsalvageable: Names of the chips beyond the resilience map, sorted.
    """

    names: tuple[str, ...]
    words: Words
    shape: tuple[int, int]
    cost: Cost
    rules: Rules
    alone: tuple[Group, ...] = ()
    unsalvageable: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the chips that may be grouped."""
        return len(self.names)

    @property
    def max_groups(self) -> int:
        """Most groups for the chips that need not stay alone."""
        limit = self.rules.max_groups
        return len(self) if limit is None else max(0, limit - len(self.alone))

    @property
    def max_members(self) -> int:
        """Most chips in a group."""
        return self.rules.members_within(len(self))

    @cached_property
    def single_prices(self) -> Floats:
        """Price of each chip on its own [chips]."""
        return self.prices(self.words)

    @cached_property
    def counts(self) -> Ints:
        """Faults of each chip [chips]."""
        return count_faults(self.words)

    @property
    def count_cost(self) -> CountCost:
        """The cost as a table over the number of faults; TypeError where it is a plain callable."""
        if not isinstance(self.cost, CountCost):
            raise TypeError("column generation needs a CountCost")
        return self.cost

    def fault_map(self, words: Words) -> FaultMap:
        """Unpack one map [words]."""
        return FaultMap.from_words(*self.shape, words)

    def fuse(self, members: Sequence[int]) -> Words:
        """Fuse the maps of some chips: packed map [words]."""
        fused: Words = np.bitwise_or.reduce(self.words[list(members)], axis=0)
        return fused

    def part(self, chips: Ints) -> Problem:
        """Return the problem of some chips [chips], without a limit on the number of groups."""
        return replace(
            self,
            names=tuple(self.names[i] for i in chips),
            words=self.words[chips],
            rules=replace(self.rules, max_groups=None, alone=()),
            alone=(),
        )

    def amounts(self, words: Words) -> Floats:
        """Return the rounded amounts (steps) of packed maps [n, words]."""
        if isinstance(self.cost, CountCost):
            return self.rules.amounts(self.cost.of_counts(count_faults(words)))
        return self.rules.amounts(self._call_cost(words))

    def prices(self, words: Words) -> Floats:
        """Return the prices of packed maps [n, words]."""
        return self.rules.prices(self.amounts(words))

    def union_prices(self, one: Words, others: Words) -> Floats:
        """Return the prices of the unions of `one` [words] with each of `others` [n, words]."""
        if isinstance(self.cost, CountCost):
            return self.rules.prices(self.cost.of_counts(union_counts(one, others)))
        return self.rules.prices(self._call_cost(others | one))

    def _call_cost(self, words: Words) -> Floats:
        """Call a plain cost for one map after the other."""
        amounts = np.array([self.cost(self.fault_map(row)) for row in words], dtype=np.float64)
        for i in np.flatnonzero(~(amounts >= 0))[:1]:
            raise EfatError(
                f"cost: {amounts[i]} for a fused map with {self.fault_map(words[i]).fault_count} "
                "faults; a number >= 0 or inf is needed"
            )
        return amounts


def prepare(chips: Sequence[Chip], cost: Cost, rules: Rules) -> Problem:
    """Check a fleet and prepare it; the order of `chips` does not matter.

    Raises:
        EfatError: No chip, a name used twice, mixed shapes, a cost that is NaN or negative, or
            rules that name unknown chips; all at once.
    """
    ordered = sorted(chips, key=lambda chip: chip.chip_id)
    raise_problems(_fleet_problems(ordered, rules))
    amounts = [float(cost(chip.fault_map)) for chip in ordered]
    raise_problems(
        f"chip {chip.chip_id!r}: its cost is {amount}; a number >= 0 or inf is needed"
        for chip, amount in zip(ordered, amounts, strict=True)
        if not amount >= 0
    )
    unsalvageable = {c.chip_id for c, a in zip(ordered, amounts, strict=True) if math.isinf(a)}
    kept_alone = set(rules.alone) - unsalvageable
    free = [c for c in ordered if c.chip_id not in unsalvageable and c.chip_id not in kept_alone]
    words = np.empty((len(free), len(ordered[0].fault_map.words)), dtype=np.uint64)
    for row, chip in zip(words, free, strict=True):
        row[:] = chip.fault_map.words
    return Problem(
        tuple(chip.chip_id for chip in free),
        words,
        ordered[0].fault_map.shape,
        cost,
        rules,
        tuple(
            Group((c.chip_id,), c.fault_map, rules.amount(a))
            for c, a in zip(ordered, amounts, strict=True)
            if c.chip_id in kept_alone
        ),
        tuple(sorted(unsalvageable)),
    )


def _fleet_problems(ordered: Sequence[Chip], rules: Rules) -> list[str]:
    if not ordered:
        return ["fleet: no chip in it; at least one is needed"]
    problems = [
        f"chip {name!r}: used {n} times; names must differ"
        for name, n in Counter(chip.chip_id for chip in ordered).items()
        if n > 1
    ]
    shape = Counter(chip.fault_map.shape for chip in ordered).most_common(1)[0][0]
    problems += [
        f"chip {chip.chip_id!r}: array of {chip.fault_map.rows}x{chip.fault_map.cols} PEs, the "
        f"others have {shape[0]}x{shape[1]}; one shape is needed"
        for chip in ordered
        if chip.fault_map.shape != shape
    ]
    return problems + rules.name_problems(chip.chip_id for chip in ordered)
