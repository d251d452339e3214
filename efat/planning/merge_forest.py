"""Merge groups pair by pair and record the merges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from efat.planning.cost import Floats, Ints, Words
from efat.planning.plan import Merge
from efat.planning.problem import Problem

ChipIndices = tuple[int, ...]
"""Members of a group by their index in the problem, sorted."""


@dataclass
class MergeForest:
    """Working state: row `i` holds the fused map, price, members and node of the `i`-th live group.

    Rows stay contiguous (the last one fills a hole), so that unions run over plain slices. Arrays
    may be longer than the number of live groups.
    """

    problem: Problem
    words: Words
    prices: Floats
    sizes: Ints
    members: list[ChipIndices]
    nodes: list[int]
    merges: list[Merge] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.row = {node: row for row, node in enumerate(self.nodes)}
        self.next_node = len(self.nodes)

    @classmethod
    def of(cls, problem: Problem, groups: Sequence[ChipIndices]) -> MergeForest:
        """Start from given groups; nodes are those of `Merge` only if these are single chips."""
        words = np.stack([problem.fuse(group) for group in groups])
        sizes = np.array([len(group) for group in groups], dtype=np.int64)
        return cls(
            problem,
            words,
            problem.prices(words),
            sizes,
            [tuple(sorted(group)) for group in groups],
            list(range(len(groups))),
        )

    @classmethod
    def singles(cls, problem: Problem) -> MergeForest:
        """Start with each chip on its own."""
        return cls.of(problem, [(i,) for i in range(len(problem))])

    def __len__(self) -> int:
        """Count the live groups."""
        return len(self.nodes)

    def rewards(self, row: int, rows: slice | Ints) -> Floats:
        """Return the saving of merging `row` with each of `rows`; -inf where it is not allowed."""
        unions = self.problem.union_prices(self.words[row], self.words[rows])
        gains = self.prices[row] + self.prices[rows] - unions
        gains[self.sizes[rows] + self.sizes[row] > self.problem.max_members] = -np.inf
        rewards: Floats = gains
        return rewards

    def join(self, a: int, b: int) -> int:
        """Merge rows `a` and `b`; return the new node, which takes row `a`."""
        fused = self.words[a] | self.words[b]
        price = float(self.problem.prices(fused[None])[0])
        gain = float(self.prices[a] + self.prices[b]) - price
        self.merges.append(Merge(self.nodes[a], self.nodes[b], gain))
        del self.row[self.nodes[a]]
        self.words[a], self.prices[a] = fused, price
        self.sizes[a] += self.sizes[b]
        self.members[a] = tuple(sorted(self.members[a] + self.members[b]))
        self.nodes[a] = self.next_node
        self.row[self.next_node] = a
        self.next_node += 1
        self._drop(b)
        return self.next_node - 1

    def _drop(self, hole: int) -> None:
        """Move the last row into `hole`."""
        last = len(self.nodes) - 1
        del self.row[self.nodes[hole]]
        if hole != last:
            self.words[hole], self.prices[hole] = self.words[last], self.prices[last]
            self.sizes[hole], self.members[hole] = self.sizes[last], self.members[last]
            self.nodes[hole] = self.nodes[last]
            self.row[self.nodes[hole]] = hole
        self.nodes.pop()
        self.members.pop()


def merge_history(problem: Problem, groups: Iterable[ChipIndices]) -> tuple[Merge, ...]:
    """Express groups as merges, each starting from its most expensive chip.

    The rewards of a group sum to the same value in any order; this order is easy to read.
    """
    merges: list[Merge] = []
    for group in groups:
        order = sorted(group, key=lambda i: (-problem.single_prices[i], i))
        grown = np.bitwise_or.accumulate(problem.words[order], axis=0)
        prices = problem.prices(grown)
        node = order[0]
        for step, chip in enumerate(order[1:], start=1):
            gain = -np.inf  # from the first infeasible union on: inf - inf is not a number
            if prices[step] < np.inf:
                gain = float(prices[step - 1] + problem.single_prices[chip] - prices[step])
            merges.append(Merge(node, chip, gain))
            node = len(problem) + len(merges) - 1
    return tuple(merges)
