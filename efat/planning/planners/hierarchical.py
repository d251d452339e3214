"""Agglomerative grouping: always the best merge there is (Ward 1963, with the reward of METHOD 6).

The reward of a pair never changes while both live, so a heap of promises is enough: a group keeps
its best few partners, falls back on the next when one is merged away, and looks around again only
when all are gone. No n x n matrix is kept.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from efat.planning.merge_forest import MergeForest
from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.planners.fit import fit_decreasing
from efat.planning.problem import Problem

KEPT = 64
"""Partners that a group remembers; more cost memory, fewer cost scans."""


@dataclass(frozen=True)
class Hierarchical(GroupingPlanner):
    """Merge the pair of the highest positive reward until there is none.

    Where `rules.max_groups` asks for fewer groups, the least bad merges follow.
    """

    description: ClassVar[str] = "the best pair merged each time"

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return the groups reached from one a chip; `seed` is not used: nothing is drawn."""
        return merge_greedily(MergeForest.singles(problem), merge_gainful=True)


def merge_greedily(forest: MergeForest, merge_gainful: bool) -> Grouping:
    """Merge best first while it pays (or not at all), then as far as `max_groups` asks for."""
    problem = forest.problem
    if merge_gainful or len(forest) > problem.max_groups:
        _Partners(forest).merge(gainful=merge_gainful)
    if len(forest) <= problem.max_groups:
        return Grouping(tuple(forest.members), tuple(forest.merges))
    return Grouping(tuple(fit_decreasing(problem)))


@dataclass
class _Partners:
    """The best partners of each live node, best last, and a heap over the best of each.

    Every live pair is kept by the node that looked around later, so the top of the heap is never
    below the best reward there is.
    """

    forest: MergeForest
    found: dict[int, list[tuple[float, int]]] = field(default_factory=dict)
    more: dict[int, bool] = field(default_factory=dict)
    heap: list[tuple[float, int, int]] = field(default_factory=list)

    def merge(self, gainful: bool) -> None:
        """Merge until nothing pays and no limit is broken."""
        for row in range(len(self.forest)):
            self._look(row, slice(row + 1, len(self.forest)))
        while self.heap:
            negated, node, partner = heapq.heappop(self.heap)
            crowded = len(self.forest) > self.forest.problem.max_groups
            if not (crowded or (gainful and negated < 0)):
                return
            if node not in self.forest.row:
                continue
            if partner in self.forest.row:
                merged = self.forest.join(self.forest.row[node], self.forest.row[partner])
                self.found.pop(node, None)
                self.found.pop(partner, None)
                self._look(self.forest.row[merged], slice(0, len(self.forest)))
            else:
                self._next(node)

    def _look(self, row: int, rows: slice) -> None:
        """Remember the best partners of `row` among `rows`."""
        rewards = self.forest.rewards(row, rows)
        if rows.start <= row:
            rewards[row - rows.start] = -np.inf
        best = np.flatnonzero(rewards > -np.inf)
        if len(best) > KEPT:
            best = best[np.argpartition(-rewards[best], KEPT)[:KEPT]]
        node, nodes = self.forest.nodes[row], self.forest.nodes
        self.more[node] = len(best) == KEPT
        self.found[node] = sorted(
            ((float(rewards[i]), nodes[rows.start + i]) for i in best.tolist()),
            key=lambda pair: (pair[0], -pair[1]),
        )
        self._push(node)

    def _next(self, node: int) -> None:
        """Fall back on the next partner that still lives; look around again if none is left."""
        found = self.found[node]
        while found and found[-1][1] not in self.forest.row:
            found.pop()
        if found:
            self._push(node)
        elif self.more[node]:
            self._look(self.forest.row[node], slice(0, len(self.forest)))

    def _push(self, node: int) -> None:
        if self.found[node]:
            reward, partner = self.found[node][-1]
            heapq.heappush(self.heap, (-reward, node, partner))
