"""Plans and planners: from chips and a cost to groups with fused maps."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

from efat.errors import EfatError
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
        reward: Saving of the merge: `E(left) + E(right) - E(left | right)`, in price units.
    """

    left: int
    right: int
    reward: float


@dataclass(frozen=True)
class Plan:
    """Every chip of a fleet exactly once: in a group, or named as unsalvageable.

    Args:
        groups: Largest amount first.
        unsalvageable: Names of chips for which no amount within the budget is known, sorted.
        rules: The limits and prices that the plan honours.
        merges: The merges that lead from single chips to the groups. The price of all single
            chips less the sum of the rewards is the price of the plan.
        bound: No plan under these rules has a lower price; proved in
            `efat.planning.bounds.lower_bound`.
        until_met: Whether groups are trained until they meet the constraint, whatever the recipe;
            all amounts are 0. Set by `make_plan`, as is `without`.
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
        """Price of all groups under the rules: the value that planners minimise."""
        return float(self.rules.prices(np.array([g.amount_steps for g in self.groups])).sum())

    @property
    def gap(self) -> float:
        """Largest share of the price that a better plan could save, in [0, 1].

        >>> Plan((), (), bound=0.0).gap
        0.0
        """
        if math.isinf(self.price):
            return 1.0
        return max(0.0, 1.0 - self.bound / self.price) if self.price > 0 else 0.0

    @property
    def chip_names(self) -> tuple[str, ...]:
        """Names of the grouped chips in the order of the nodes of `merges`."""
        return tuple(sorted(name for group in self.groups for name in group.members))


class Planner(Protocol):
    """Anything that turns chips and a cost into a plan; deterministic under `seed`.

    Its class may have the attributes that `PlannerInfo` lists, each with a default.
    """

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return a plan that does not depend on the order of `chips`."""
        ...


@dataclass(frozen=True)
class PlannerInfo:
    """The properties of a planner: class attributes of the same names, where the class has them.

    Args:
        name: Its name in tables and files; by default the name of the class in snake case.
        description: A few words for the report.
        needs_map: Whether it asks for costs. If False, no analysis is run for it, all its amounts
            are 0, and its groups are trained until they meet the constraint.
        keeps_rules: If False, it is a baseline that no limit fits: it plans without the rules
            where another planner is compared with it.
        max_group_size: Most chips in a group; None: no limit.
        one_group: Whether all chips go into one group.
        max_chips: Most chips that may be grouped; None: no limit.
        max_chips_called: The same where the cost is a plain callable, not a `CountCost`.
        without: Steps of the recipe that its models are made without; only for comparison.
    """

    name: str
    description: str = ""
    needs_map: bool = True
    keeps_rules: bool = True
    max_group_size: int | None = None
    one_group: bool = False
    max_chips: int | None = None
    max_chips_called: int | None = None
    without: tuple[str, ...] = ()

    def limit_problems(
        self, rules: Rules, free: int, alone: int, counted: bool, key: str = "planner"
    ) -> list[str]:
        """Return why it cannot plan so many chips under these rules, whatever their faults are.

        Args:
            rules: Limits of the plan.
            free: Chips that may be grouped.
            alone: Chips that must stay alone.
            counted: Whether the cost is a `CountCost`.
            key: The configuration key that names the planner.
        """
        problems = []
        most = self.max_chips if counted else self.max_chips_called or self.max_chips
        if most is not None and free > most:
            problems.append(
                f"{key}: {self.name} was given {free} chips that may be grouped; at most {most} "
                "with this severity are allowed; use min_cost"
            )
        largest = rules.members_within(free)
        if self.one_group and free > largest:
            problems.append(
                f"rules.max_members: {rules.max_members} given; {self.name} makes a group of "
                f"{free}; use another planner"
            )
        name = "a plan"
        if self.max_group_size is not None:
            name, largest = self.name, min(largest, self.max_group_size)
        least = alone + (-(-free // largest) if largest else 0)
        if rules.max_groups is not None and rules.max_groups < least:
            problems.append(
                f"rules.max_groups: {rules.max_groups} given; {name} puts {free} chips in "
                f"groups of at most {largest} and {alone} alone, which takes at least {least}; "
                "raise it"
            )
        return problems


NO_RETRAINING = PlannerInfo("none", "no retraining", needs_map=False)


def info_of(planner: Planner | None) -> PlannerInfo:
    """Return the properties of a planner.

    Args:
        planner: None: the strategy without retraining.

    >>> from efat.planning import LocalSearch
    >>> info_of(LocalSearch()).name, info_of(None).needs_map
    ('local_search', False)
    """
    if planner is None:
        return NO_RETRAINING
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(planner).__name__).lower()
    given = {
        each.name: getattr(planner, each.name)
        for each in fields(PlannerInfo)
        if hasattr(planner, each.name)
    }
    return PlannerInfo(**{"name": name, **given})


def make_plan(planner: Planner, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
    """Plan, and note in the plan how its groups are trained (`PlannerInfo`).

    Raises:
        EfatError: A planner without a resilience map plans amounts, which only a map knows.
    """
    info, plan = info_of(planner), planner(chips, cost, seed)
    if not info.needs_map and any(group.amount_steps for group in plan.groups):
        raise EfatError(
            f"planner: {info.name} says needs_map = False, but its plan has amounts; without a "
            "resilience map groups are trained from amount 0 until they meet the constraint: "
            "return amounts of 0, or leave needs_map out"
        )
    return replace(plan, until_met=not info.needs_map, without=info.without)
