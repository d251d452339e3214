"""One group of all chips, one retraining (TRe-Map, DSD 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.problem import Problem


@dataclass(frozen=True)
class Single(GroupingPlanner):
    """All salvageable chips in one group; its amount is inf where the fused map is too much."""

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return one group; `seed` is not used."""
        return Grouping((tuple(range(len(problem))),))
