"""Each chip on its own, all with one amount: what is done without a resilience map per chip."""

from __future__ import annotations

from dataclasses import dataclass

from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.problem import Problem


@dataclass(frozen=True)
class Fixed(GroupingPlanner):
    """One amount for all, that of the dearest salvageable chip, so that it is enough for each."""

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return one group a chip; `seed` is not used."""
        amount = float(problem.amounts(problem.words).max())
        return Grouping(tuple((i,) for i in range(len(problem))), amount_steps=amount)
