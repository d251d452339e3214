"""Proof that dual values overcharge no group: a search over groups, cut by the branch bound."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from efat.planning.branch import Branch, Overlaps
from efat.planning.cost import Floats, Ints, Words, count_faults, union_counts
from efat.planning.forest import Places

PAIRS_AT = 128
"""Candidates up to which a branch looks at the overlaps outside its own map."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of a search: proved or not, and groups found to be overcharged."""

    proved: bool
    counterexamples: tuple[Places, ...]


@dataclass(frozen=True)
class Prover:
    """Searches for groups with `u(G) > f(|F_G|)`.

    Args:
        words: Packed maps [chips, words].
        table: Price f for each number of faults, non-decreasing, inf at the end.
        max_members: Chips in a group at the most.
        overlaps: What is known of the pairs.
    """

    words: Words
    table: Floats
    max_members: int
    overlaps: Overlaps

    def search(self, values: Floats, branches: int, counterexamples: int = 64) -> Verdict:
        """Look at `branches` branches at the most, for values u [chips], all at least 0."""
        counts = count_faults(self.words)
        order = np.lexsort((np.arange(len(values)), counts))[::-1]
        order = order[values[order] > 0]
        run = _Run(self, values, branches, counterexamples)
        empty = np.zeros(self.words.shape[1], dtype=np.uint64)
        node = _Node((), empty, 0, 0.0, order, counts[order], self.overlaps.take(order))
        proved = run.visit(node)
        return Verdict(proved and not run.found, tuple(run.found))


@dataclass(frozen=True)
class _Node:
    chosen: Places
    fused: Words
    count: int
    value: float
    candidates: Ints
    gains: Ints
    overlaps: Overlaps


@dataclass
class _Run:
    """One search: how many branches are left and what was found."""

    prover: Prover
    values: Floats
    left: int
    most: int
    found: list[Places] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limit = int(np.searchsorted(self.prover.table, np.inf)) - 1

    def visit(self, node: _Node) -> bool:
        """Return whether no group of this branch but those in `found` is overcharged."""
        self.left -= 1
        room = self.prover.max_members - len(node.chosen)
        fits = np.flatnonzero(node.count + node.gains <= self.limit)
        if room < 1 or not len(fits):
            return True
        node = _Node(
            node.chosen,
            node.fused,
            node.count,
            node.value,
            node.candidates[fits],
            node.gains[fits],
            node.overlaps.take(fits),
        )
        self._note(node)
        if len(self.found) >= self.most:
            return False
        if room < 2 or len(fits) < 2 or self._settled(node, node.overlaps, room):
            return True
        if node.chosen and len(fits) <= PAIRS_AT:
            own = self.prover.words[node.candidates] & ~node.fused
            area = max(1, len(self.prover.table) - 1 - node.count)
            if self._settled(node, Overlaps.of(own, area, len(own)), room):
                return True
        return len(fits) <= self.left and self._children(node)

    def _note(self, node: _Node) -> None:
        """Keep the candidates that overcharge at once."""
        prices = self.prover.table[node.count + node.gains]
        excess = node.value + self.values[node.candidates] - prices
        over = np.flatnonzero(excess > 1e-9 * (1 + prices))[: self.most - len(self.found)]
        self.found += [(*node.chosen, int(node.candidates[i])) for i in over]

    def _settled(self, node: _Node, overlaps: Overlaps, room: int) -> bool:
        branch = Branch(
            node.value,
            node.count,
            self.values[node.candidates],
            node.gains,
            overlaps,
            self.prover.table,
            self.limit,
        )
        return branch.overcharge(room) <= 0

    def _children(self, node: _Node) -> bool:
        """Visit each candidate with those after it, so that each group is met once."""
        own = self.prover.words[node.candidates]
        for i, chip in enumerate(node.candidates.tolist()):
            grown, count = node.fused | own[i], node.count + int(node.gains[i])
            rest = slice(i + 1, None)
            child = _Node(
                (*node.chosen, chip),
                grown,
                count,
                node.value + float(self.values[chip]),
                node.candidates[rest],
                union_counts(grown, own[rest]) - count,
                node.overlaps.take(rest),
            )
            if self.left <= 0 or not self.visit(child):
                return False
        return True
