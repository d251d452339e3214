"""Each chip on its own, with just the amount it needs (Reduce, DATE 2023, arXiv 2305.12595)."""

from __future__ import annotations

from dataclasses import dataclass

from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.problem import Problem


@dataclass(frozen=True)
class Individual(GroupingPlanner):
    """Resilience-driven amounts without grouping."""

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return one group a chip; `seed` is not used."""
        return Grouping(tuple((i,) for i in range(len(problem))))
