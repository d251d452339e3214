"""Agglomerative grouping: always the best merge (Ward 1963, with the reward of METHOD 6).

The reward of a pair does not change while both groups live, so a heap is enough: a group stores its
best few partners, takes the next when one is merged away, and searches again only when all are
merged away. No n x n matrix is stored.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from efat.planning.merge_forest import ChipIndices, MergeForest
from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.problem import Problem

PARTNERS_STORED = 64
"""Partners that a group stores; more take memory, fewer take more searches."""


@dataclass(frozen=True)
class Hierarchical(GroupingPlanner):
    """Merge the pair of the highest positive reward until no reward is positive.

    Where `rules.max_groups` requires fewer groups, the merges that cost least follow.
    """

    description: ClassVar[str] = "the best pair merged each time"

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return the groups reached from single chips; `seed` is not used."""
        return merge_greedily(MergeForest.singles(problem), merge_gainful=True)


def merge_greedily(forest: MergeForest, merge_gainful: bool) -> Grouping:
    """Merge best first while it saves (or not at all), then as far as `max_groups` requires."""
    problem = forest.problem
    if merge_gainful or len(forest) > problem.max_groups:
        _Partners(forest).merge(gainful=merge_gainful)
    if len(forest) <= problem.max_groups:
        return Grouping(tuple(forest.members), tuple(forest.merges))
    return Grouping(tuple(fit_decreasing(problem)))


@dataclass
class _Partners:
    """The best partners of each live node, best last, and a heap of the best pair of each.

    Every live pair is stored by the node that searched later, so the top of the heap is never below
    the best reward of all pairs.
    """

    forest: MergeForest
    partners: dict[int, list[tuple[float, int]]] = field(default_factory=dict)
    more: dict[int, bool] = field(default_factory=dict)
    heap: list[tuple[float, int, int]] = field(default_factory=list)

    def merge(self, gainful: bool) -> None:
        """Merge until no merge saves and no limit is broken."""
        for row in range(len(self.forest)):
            self._search(row, slice(row + 1, len(self.forest)))
        while self.heap:
            negated, node, partner = heapq.heappop(self.heap)
            crowded = len(self.forest) > self.forest.problem.max_groups
            if not (crowded or (gainful and negated < 0)):
                return
            if node not in self.forest.row:
                continue
            if partner in self.forest.row:
                merged = self.forest.join(self.forest.row[node], self.forest.row[partner])
                self.partners.pop(node, None)
                self.partners.pop(partner, None)
                self._search(self.forest.row[merged], slice(0, len(self.forest)))
            else:
                self._next(node)

    def _search(self, row: int, rows: slice) -> None:
        """Store the best partners of `row` among `rows`."""
        rewards = self.forest.rewards(row, rows)
        if rows.start <= row:
            rewards[row - rows.start] = -np.inf
        best = np.flatnonzero(rewards > -np.inf)
        if len(best) > PARTNERS_STORED:
            best = best[np.argpartition(-rewards[best], PARTNERS_STORED)[:PARTNERS_STORED]]
        node, nodes = self.forest.nodes[row], self.forest.nodes
        self.more[node] = len(best) == PARTNERS_STORED
        self.partners[node] = sorted(
            ((float(rewards[i]), nodes[rows.start + i]) for i in best.tolist()),
            key=lambda pair: (pair[0], -pair[1]),
        )
        self._push(node)

    def _next(self, node: int) -> None:
        """Take the next partner that still lives; search again if none remains."""
        partners = self.partners[node]
        while partners and partners[-1][1] not in self.forest.row:
            partners.pop()
        if partners:
            self._push(node)
        elif self.more[node]:
            self._search(self.forest.row[node], slice(0, len(self.forest)))

    def _push(self, node: int) -> None:
        if self.partners[node]:
            reward, partner = self.partners[node][-1]
            heapq.heappush(self.heap, (-reward, node, partner))


def fit_decreasing(problem: Problem) -> list[ChipIndices]:
    """Put each chip, most faults first, into the group whose price rises least.

    This is best-fit decreasing on the real unions, for when `max_groups` is tight: a new group is
    opened only if no other can take the chip, so the groups are few, not necessarily the fewest.
    """
    order = np.lexsort((np.arange(len(problem)), -problem.counts)).tolist()
    fused = np.empty((0, problem.words.shape[1]), dtype=np.uint64)
    prices = np.empty(0)
    members: list[list[int]] = []
    for chip in order:
        unions = problem.union_prices(problem.words[chip], fused)
        rises = np.where([len(m) < problem.max_members for m in members], unions - prices, np.inf)
        if len(rises) and np.isfinite(rises.min()):
            row = int(rises.argmin())
            fused[row] |= problem.words[chip]
            prices[row] = unions[row]
            members[row].append(chip)
        else:
            fused = np.vstack([fused, problem.words[chip]])
            prices = np.append(prices, problem.single_prices[chip])
            members.append([chip])
    return [tuple(sorted(group)) for group in members]
