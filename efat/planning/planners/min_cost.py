"""The default planner: run the planners that the size of the fleet allows, take the cheapest plan.

Up to `chunk` chips every planner gets the whole fleet. A larger fleet is split into similar chunks
(sorted by faults, distributed in turn), each is planned on its own, and the plan is all of their
groups: time and memory then grow linearly. This is approximate: partners in other chunks are not
considered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from efat.errors import raise_problems
from efat.planning.bounds.column_generation import Columns
from efat.planning.bounds.lower_bound import MOST_SEARCHED, relax
from efat.planning.bounds.set_partition import choose, dive
from efat.planning.bounds.subsets import can_list_all
from efat.planning.cost import Floats
from efat.planning.merge_forest import ChipIndices, MergeForest
from efat.planning.planners.base import Effort, Grouping, GroupingPlanner
from efat.planning.planners.exact import Exact
from efat.planning.planners.greedy import Greedy
from efat.planning.planners.hierarchical import Hierarchical, merge_greedily
from efat.planning.planners.local_search import improve
from efat.planning.planners.packing import Packing
from efat.planning.problem import Problem


@dataclass(frozen=True)
class MinCost(GroupingPlanner):
    """Take the cheapest of exact (small fleets), greedy, hierarchical and packing, all refined.

    With `effort=full` groups are also generated and chosen among: the relaxation that proves the
    bound finds the groups of plans near it.

    Args:
        chunk: Most chips of a fleet that is planned as a whole.
        refine: Iterations of local search; null (None): its default.
    """

    description: ClassVar[str] = "the cheapest plan that its planners find"
    effort: Effort = "full"
    chunk: int = 1000
    refine: int | None = None

    def __post_init__(self) -> None:
        raise_problems(
            [f"planner.chunk: {self.chunk!r} given; an int >= 2 is needed"]
            if type(self.chunk) is not int or self.chunk < 2
            else []
        )

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return the cheapest grouping; random numbers as of the planners that it runs."""
        if len(problem) > self.chunk:
            return self._in_chunks(problem, seed)
        if can_list_all(problem) and len(problem) <= 16:
            return Exact().group(problem, seed)
        best = self._cheapest(problem, seed)
        if self.effort == "cheap" or len(best.groups) > problem.max_groups:
            return best
        relaxed = relax(problem, best.groups)
        if relaxed.columns is None:
            return replace(best, bound=relaxed.bound)
        chosen = self._choose(problem, best.groups, *relaxed.columns)
        refined = improve(problem, chosen, self.refine, None, seed)
        if _price(problem, refined) >= _price(problem, best.groups):
            return replace(best, bound=relaxed.bound)
        return Grouping(refined, bound=relaxed.bound)

    def _cheapest(self, problem: Problem, seed: int) -> Grouping:
        """Return the cheapest of the plans made by merging and packing."""
        starts = [Greedy().group(problem, seed), Hierarchical().group(problem, seed)]
        starts = [s for s in starts if len(s.groups) <= problem.max_groups] or starts[:1]
        if len(starts[0].groups) > problem.max_groups:
            return starts[0]
        best = min(starts, key=lambda start: _price(problem, start.groups))
        groupings = [*starts, Grouping(improve(problem, best.groups, self.refine, None, seed))]
        packed = Packing(refine=self.refine).group(problem, seed)
        if len(packed.groups) <= problem.max_groups:
            groupings.append(packed)
        return min(groupings, key=lambda grouping: _price(problem, grouping.groups))

    def _choose(
        self, problem: Problem, groups: tuple[ChipIndices, ...], columns: Columns, values: Floats
    ) -> tuple[ChipIndices, ...]:
        """Return the cheapest of `groups` and the plans made of generated groups."""
        plans = [groups, choose(problem, columns, values), dive(problem, columns)]
        fits = [plan for plan in plans if 0 < len(plan) <= problem.max_groups]
        return min(fits, key=lambda plan: _price(problem, plan))

    def _in_chunks(self, problem: Problem, seed: int) -> Grouping:
        groups: list[ChipIndices] = []
        for chips in _stratified_chunks(problem, self.chunk):
            part = problem.part(chips)
            # where no groups are generated, full effort adds a bound of the part, which is not used
            effort = self.effort if len(part) <= MOST_SEARCHED else "cheap"
            planned = replace(self, effort=effort).group(part, seed).groups
            groups += [tuple(int(chips[i]) for i in group) for group in planned]
        if len(groups) > problem.max_groups:
            return Grouping(
                merge_greedily(MergeForest.of(problem, groups), merge_gainful=False).groups
            )
        return Grouping(tuple(groups))


def _stratified_chunks(
    problem: Problem, chunk: int
) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Distribute the chips, most faults first, over equal chunks of at most `chunk`."""
    order = np.lexsort((np.arange(len(problem)), -problem.counts))
    chunks = -(-len(problem) // chunk)
    for first in range(chunks):
        yield np.sort(order[first::chunks])


def _price(problem: Problem, groups: tuple[ChipIndices, ...]) -> float:
    return float(sum(problem.prices(problem.fuse(group)[None])[0] for group in groups))
