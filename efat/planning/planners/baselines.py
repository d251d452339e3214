"""Simple planners to compare with: one chip per group, one group of all chips, random groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import ClassVar

from efat.errors import EfatError
from efat.hardware import Chip
from efat.planning.cost import Cost
from efat.planning.merge_forest import ChipIndices
from efat.planning.plan import Group, Plan
from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.problem import Problem
from efat.seeds import generator


@dataclass(frozen=True)
class EarlyStopping:
    """One group per chip, trained from amount 0 until it meets the constraint; asks for no cost.

    The rules do not apply. No chip counts as unsalvageable: only an analysis could show that.
    """

    name: ClassVar[str] = "early_stop"
    description: ClassVar[str] = (
        "each chip until it meets the constraint on validation, no analysis"
    )
    needs_map: ClassVar[bool] = False
    max_group_size: ClassVar[int] = 1
    without: ClassVar[tuple[str, ...]] = ()

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return one group per chip, sorted by name; `cost` and `seed` are not used."""
        named = sorted(chips, key=lambda chip: chip.chip_id)
        return Plan(tuple(Group((chip.chip_id,), chip.fault_map, 0.0) for chip in named), ())


class NoRemap(EarlyStopping):
    """The same on hardware that cannot remap: every channel stays on its own column."""

    name: ClassVar[str] = "no_remap"
    description: ClassVar[str] = (
        "each chip until it meets the constraint on validation, nothing remapped"
    )
    without: ClassVar[tuple[str, ...]] = ("remap",)


@dataclass(frozen=True)
class Individual(GroupingPlanner):
    """One chip per group, with just the amount it needs (Reduce, DATE 2023, arXiv 2305.12595)."""

    description: ClassVar[str] = "its own amount and model for each chip (as in Reduce)"
    keeps_rules: ClassVar[bool] = False
    max_group_size: ClassVar[int | None] = 1

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return one group per chip; `seed` is not used."""
        return Grouping(tuple((i,) for i in range(len(problem))))


@dataclass(frozen=True)
class Fixed(Individual):
    """One chip per group, all with the amount of the most expensive salvageable chip.

    This is what is done without a resilience map: that amount is enough for each chip.
    """

    description: ClassVar[str] = "one amount for all, one model per chip"

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return one group per chip; `seed` is not used."""
        amount = float(problem.amounts(problem.words).max())
        return Grouping(super().group(problem, seed).groups, amount_steps=amount)


@dataclass(frozen=True)
class Single(GroupingPlanner):
    """One group of all salvageable chips (TRe-Map, DSD 2021).

    Its amount is inf where the fused map is beyond the resilience map.
    """

    description: ClassVar[str] = "one model for all"
    keeps_rules: ClassVar[bool] = False
    one_group: ClassVar[bool] = True

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return one group; `seed` is not used."""
        return Grouping((tuple(range(len(problem))),))


@dataclass(frozen=True)
class Random(GroupingPlanner):
    """Random groups of given sizes: shows what the choice of partners is worth.

    The amount of a group may be inf. Where it is compared with another planner, the sizes are
    those of that planner's groups.

    Args:
        sizes: Sizes of the groups, each at least 1; reused from the first once used up.

    Raises:
        EfatError: No size, or one below 1.
    """

    description: ClassVar[str] = "random groups of the same sizes"
    keeps_rules: ClassVar[bool] = False
    sizes: Sequence[int]

    def __post_init__(self) -> None:
        if not self.sizes or any(type(size) is not int or size < 1 for size in self.sizes):
            raise EfatError(f"planner.sizes: {self.sizes!r} given; ints >= 1 are needed")

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return groups in the order of the stream "plan" of `seed`."""
        shuffled = generator(seed, "plan").permutation(len(problem)).tolist()
        groups: list[ChipIndices] = []
        sizes = cycle(self.sizes)
        while shuffled:
            size = next(sizes)
            groups.append(tuple(sorted(shuffled[:size])))
            shuffled = shuffled[size:]
        return Grouping(tuple(groups))
