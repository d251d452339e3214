"""Random groups of given sizes: shows what the choice of partners is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from efat.errors import EfatError
from efat.planning.merge_forest import ChipIndices
from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.problem import Problem
from efat.seeds import generator


@dataclass(frozen=True)
class Random(GroupingPlanner):
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

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return groups drawn on the stream "plan" of `seed`."""
        left = generator(seed, "plan").permutation(len(problem)).tolist()
        groups: list[ChipIndices] = []
        sizes = cycle(self.sizes)
        while left:
            size = next(sizes)
            groups.append(tuple(sorted(left[:size])))
            left = left[size:]
        return Grouping(tuple(groups))
