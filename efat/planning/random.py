"""Random groups of given sizes: shows what the choice of partners is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from efat.chips import Chip
from efat.errors import EfatError
from efat.planning.base import Cost, Group, Plan, make_group, make_plan, split_salvageable
from efat.seeds import generator


@dataclass(frozen=True)
class Random:
    """Shuffle the chips and cut them into groups; a group's amount may be inf.

    Args:
        sizes: Sizes of the groups, each at least 1, taken again from the front when used up.

    Raises:
        EfatError: No size, or one below 1.
    """

    sizes: Sequence[int]

    def __post_init__(self) -> None:
        if not self.sizes or any(type(size) is not int or size < 1 for size in self.sizes):
            raise EfatError(f"planner.sizes: {self.sizes!r} given; ints >= 1 are needed")

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return groups drawn on the stream "plan" of `seed`."""
        good, unsalvageable = split_salvageable(chips, cost)
        left = [good[i] for i in generator(seed, "plan").permutation(len(good))]
        groups: list[Group] = []
        for size in cycle(self.sizes):
            if not left:
                return make_plan(groups, unsalvageable)
            groups.append(make_group(left[:size], cost))
            left = left[size:]
        raise AssertionError("unreachable: cycle() of a non-empty sequence does not end")
