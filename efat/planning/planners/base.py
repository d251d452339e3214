"""The steps that all planners share: check the fleet, group, check the rules, add the bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from efat.errors import EfatError, raise_problems
from efat.hardware import Chip
from efat.planning.bounds.lower_bound import lower_bound
from efat.planning.cost import Cost, CountCost
from efat.planning.merge_forest import ChipIndices, merge_history
from efat.planning.plan import Group, Merge, Plan, info_of
from efat.planning.problem import Problem, prepare
from efat.planning.rules import NO_RULES, Rules

Effort = Literal["cheap", "full"]


@dataclass(frozen=True)
class Grouping:
    """The decision of a planner.

    Args:
        groups: Indices of the members in the problem, one tuple per group.
        merges: The merges that made the groups; None: they were not made by merging.
        amount_steps: One amount for all groups; None: each gets the amount that it needs.
        bound: Lower bound on the price that the planner itself has proved.
    """

    groups: tuple[ChipIndices, ...]
    merges: tuple[Merge, ...] | None = None
    amount_steps: float | None = None
    bound: float = 0.0


@dataclass(frozen=True, kw_only=True)
class GroupingPlanner(ABC):
    """Base of planners that only decide which chips go together.

    Args:
        rules: Limits and prices that the plan must honour.
        effort: Work spent on the lower bound: `cheap` (no pairs of chips are compared) or `full`.
    """

    rules: Rules = NO_RULES
    effort: Effort = "cheap"

    @abstractmethod
    def group(self, problem: Problem, seed: int) -> Grouping:
        """Group the chips of `problem`, which has at least one."""

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return a plan that does not depend on the order of `chips`.

        Raises:
            EfatError: Bad chips, cost or rules, or rules that this planner cannot honour.
        """
        if self.effort not in get_args(Effort):
            raise EfatError(f"planner.effort: {self.effort!r} given; allowed: cheap, full")
        problem, info = prepare(chips, cost, self.rules), info_of(self)
        counted = isinstance(cost, CountCost)
        raise_problems(info.limit_problems(self.rules, len(problem), len(problem.alone), counted))
        grouping = self.group(problem, seed) if len(problem) else Grouping(())
        full = self.effort == "full" and not grouping.bound  # no second proof
        bound = max(grouping.bound, lower_bound(problem, grouping.groups, full))
        return finish(problem, grouping, bound, info.name)


def finish(problem: Problem, grouping: Grouping, bound: float, name: str) -> Plan:
    """Check a grouping against the rules and make a plan of it, groups in canonical order."""
    _check(problem, grouping.groups, name)
    groups = [_group(problem, places, grouping.amount_steps) for places in grouping.groups]
    _check_monotone(problem, grouping.groups, groups)
    fixed = sum(problem.rules.price(group.amount_steps) for group in problem.alone)
    merges = merge_history(problem, grouping.groups) if grouping.merges is None else grouping.merges
    ordered = sorted(
        [*groups, *problem.alone], key=lambda group: (-group.amount_steps, group.members)
    )
    renamed = _renumber(problem, merges)
    return Plan(tuple(ordered), problem.unsalvageable, problem.rules, renamed, bound + fixed)


def _group(problem: Problem, places: ChipIndices, amount_steps: float | None) -> Group:
    fused = problem.fuse(places)
    amount = float(problem.amounts(fused[None])[0]) if amount_steps is None else amount_steps
    names = tuple(problem.names[i] for i in sorted(places))
    return Group(names, problem.fault_map(fused), amount)


def _renumber(problem: Problem, merges: Sequence[Merge]) -> tuple[Merge, ...]:
    """Renumber nodes to count all grouped chips, those that stay alone included."""
    alone = [name for group in problem.alone for name in group.members]
    order = {name: i for i, name in enumerate(sorted([*problem.names, *alone]))}
    place = [order[name] for name in problem.names]

    def node(old: int) -> int:
        return place[old] if old < len(place) else old + len(alone)

    return tuple(Merge(node(m.left), node(m.right), m.reward) for m in merges)


def _check(problem: Problem, groups: Sequence[ChipIndices], name: str) -> None:
    if Counter(i for group in groups for i in group) != Counter(range(len(problem))):
        raise AssertionError(f"{name}: not every chip exactly once")  # a bug, not bad input
    largest = max((len(group) for group in groups), default=0)
    problems = []
    if len(groups) > problem.max_groups:
        problems.append(
            f"rules.max_groups: {problem.rules.max_groups} given; {name} found no plan with fewer "
            f"than {len(groups) + len(problem.alone)} groups; raise it, or use another planner"
        )
    if largest > problem.max_members:
        problems.append(
            f"rules.max_members: {problem.rules.max_members} given; {name} makes a group of "
            f"{largest}; use another planner"
        )
    raise_problems(problems)


def _check_monotone(
    problem: Problem, places: Sequence[ChipIndices], groups: Sequence[Group]
) -> None:
    """Refuse a cost by which a fused map needs less than one of its members."""
    amounts = problem.amounts(problem.words) if len(problem) else np.zeros(0)
    raise_problems(
        f"chip {problem.names[i]!r}: its cost is {amounts[i]} steps, but the fused map of its "
        f"group costs {group.amount_steps}; more faults must not cost less"
        for group, members in zip(groups, places, strict=True)
        for i in members
        if amounts[i] > group.amount_steps
    )
