"""eFAT-style greedy grouping and fusion (METHOD section 6; Hanif & Shafique, arXiv 2304.12949).

The merging rule follows the idea of the paper; its full text was not available.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from efat.errors import raise_problems
from efat.planning.merge_forest import MergeForest
from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.planners.hierarchical import merge_greedily
from efat.planning.problem import Problem
from efat.seeds import generator


@dataclass(frozen=True)
class Greedy(GroupingPlanner):
    """Sweep the groups, most expensive first; each merges with the best of `k` candidates.

    Args:
        k: Candidates per group, chosen at random; null (None): all other groups.
        max_sweeps: Most sweeps; a sweep that merges nothing ends the search.

    Raises:
        EfatError: A value below 1; all problems at once.
    """

    description: ClassVar[str] = "chips merged pair by pair (eFAT-style)"
    k: int | None = None
    max_sweeps: int = 10

    def __post_init__(self) -> None:
        raise_problems(
            f"planner.{name}: {value!r} given; an int >= 1 is needed"
            for name, value in (("k", self.k), ("max_sweeps", self.max_sweeps))
            if not (name == "k" and value is None) and (type(value) is not int or value < 1)
        )

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return the groups reached from single chips; random numbers: stream "plan" of `seed`."""
        forest, rng = MergeForest.singles(problem), generator(seed, "plan")
        for _ in range(self.max_sweeps):
            before = len(forest)
            self._sweep(forest, rng)
            if len(forest) == before:
                break
        return merge_greedily(forest, merge_gainful=False)

    def _sweep(self, forest: MergeForest, rng: np.random.Generator) -> None:
        """Let each group, most expensive first, merge once; merged groups wait until the next."""
        order = sorted(range(len(forest)), key=lambda r: (-forest.prices[r], forest.members[r]))
        waiting = [forest.nodes[row] for row in order]
        while waiting:
            node = waiting.pop(0)
            partner = self._partner(forest, node, waiting, rng)
            if partner is not None:
                waiting.remove(partner)
                forest.join(forest.row[node], forest.row[partner])

    def _partner(
        self, forest: MergeForest, node: int, waiting: list[int], rng: np.random.Generator
    ) -> int | None:
        """Return the candidate of the highest positive reward, of equal ones the first."""
        if not waiting:
            return None
        count = len(waiting) if self.k is None else min(self.k, len(waiting))
        candidates = sorted(rng.permutation(len(waiting))[:count].tolist())
        rows = [forest.row[waiting[i]] for i in candidates]
        rewards = forest.rewards(forest.row[node], np.array(rows))
        best = int(np.argmax(rewards))
        return waiting[candidates[best]] if rewards[best] > 0 else None
