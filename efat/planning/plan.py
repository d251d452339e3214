"""What every planner takes and returns: chips and a cost in, groups with fused maps out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Protocol

import numpy as np

from efat.hardware import Chip, FaultMap
from efat.planning.cost import Cost
from efat.planning.rules import NO_RULES, Rules


@dataclass(frozen=True)
class Group:
    """Chips that share one retraining.

    Args:
        members: Chip names, sorted.
        fused: Union (OR) of the members' fault maps.
        amount_steps: Retraining amount, optimizer steps; inf: beyond the resilience map.
    """

    members: tuple[str, ...]
    fused: FaultMap
    amount_steps: float


@dataclass(frozen=True)
class Merge:
    """One fusion on the way to a plan.

    Args:
        left: A node: below the number of grouped chips it is that chip (names sorted), from there
            on the result of an earlier merge, as in `scipy.cluster.hierarchy.linkage`.
        right: The other node.
        reward: What the merge saves: `E(left) + E(right) - E(left | right)`, in price units.
    """

    left: int
    right: int
    reward: float


@dataclass(frozen=True)
class Plan:
    """Every chip of a fleet exactly once: in a group, or named as unsalvageable.

    Args:
        groups: Dearest first.
        unsalvageable: Names of chips for which no amount within the budget is known, sorted.
        rules: The limits and prices that the plan honours.
        merges: How the groups came about, one chip at a time; rewards telescope: the price of all
            chips on their own, less the sum of the rewards, is the price of the plan.
        bound: No plan under these rules has a lower price; proved in
        `efat.planning.bounds.lower_bound`. until_met: Whether groups are trained on from their
            amount until they meet the constraint, whatever the recipe; their amounts are then not
            of an analysis.
        without: Steps of the recipe that its models are made without.
    """

    groups: tuple[Group, ...]
    unsalvageable: tuple[str, ...]
    rules: Rules = NO_RULES
    merges: tuple[Merge, ...] = ()
    bound: float = 0.0
    until_met: bool = False
    without: tuple[str, ...] = ()

    @property
    def total_steps(self) -> float:
        """Retraining amount of all groups, optimizer steps."""
        return sum(group.amount_steps for group in self.groups)

    @property
    def price(self) -> float:
        """What the rules make of the amounts: the value that planners bring down."""
        return float(self.rules.prices(np.array([g.amount_steps for g in self.groups])).sum())

    @property
    def gap(self) -> float:
        """Share of the price that a better plan could save at the most, in [0, 1].

        >>> Plan((), (), bound=0.0).gap
        0.0
        """
        if math.isinf(self.price):
            return 1.0
        return max(0.0, 1.0 - self.bound / self.price) if self.price > 0 else 0.0

    @property
    def chip_names(self) -> tuple[str, ...]:
        """The grouped chips in the order that `merges` counts them."""
        return tuple(sorted(name for group in self.groups for name in group.members))


def make_group(chips: Sequence[Chip], cost: Cost) -> Group:
    """Fuse the maps of `chips` and ask `cost` for the amount."""
    fused = reduce(or_, (chip.fault_map for chip in chips))
    return Group(tuple(sorted(chip.chip_id for chip in chips)), fused, cost(fused))


def merge(a: Group, b: Group, cost: Cost) -> Group:
    """Fuse two groups into one."""
    fused = a.fused | b.fused
    return Group(tuple(sorted(a.members + b.members)), fused, cost(fused))


def reward(a: Group, b: Group, merged: Group) -> float:
    """Return what merging saves: `E(a) + E(b) - E(a|b)`; -inf if the merged map is infeasible."""
    return a.amount_steps + b.amount_steps - merged.amount_steps


class Planner(Protocol):
    """Anything that turns chips and a cost into a plan; deterministic under `seed`.

    It may say two things of itself: `name`, where that is not its class's in lower case, and
    `needs_map = False`, where it never asks for a cost; its plans are then `until_met`.
    """

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return a plan that does not depend on the order of `chips`."""
        ...


def name_of(planner: Planner) -> str:
    """Name a planner in tables and files.

    >>> from efat.planning.planners.early_stop import EarlyStopping
    >>> name_of(EarlyStopping())
    'early_stop'
    """
    return str(getattr(planner, "name", type(planner).__name__.lower()))


def needs_map(planner: Planner | None) -> bool:
    """Tell whether a planner asks what fault maps cost, which only a resilience map knows.

    Args:
        planner: None: the strategy without retraining.

    >>> needs_map(None)
    False
    """
    return planner is not None and bool(getattr(planner, "needs_map", True))
