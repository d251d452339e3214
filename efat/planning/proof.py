"""Proof that dual values overcharge no group: a search over groups, cut by the branch bound.

Chips are sorted by faults, most first, and each branch adds chips that come later: every group is
met once. A branch is closed by the bound on what its candidates can add, first with the overlaps
that its parent knew, then with those outside its own fused map; groups with one or two more chips
are priced exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from efat.planning.branch import Branch, Overlaps, shared_counts
from efat.planning.cost import Floats, Ints, Words, count_faults, union_counts
from efat.planning.forest import Places

PAIRS_AT = 200
"""Candidates up to which a branch looks at the overlaps outside its own map."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of a search: proved or not, groups found to be overcharged, branches looked at."""

    proved: bool
    counterexamples: tuple[Places, ...]
    branches: int


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
        return Verdict(proved and not run.found, tuple(run.found), branches - run.left)


@dataclass(frozen=True)
class _Node:
    chosen: Places
    fused: Words
    count: int
    value: float
    candidates: Ints
    gains: Ints
    overlaps: Overlaps

    def keep(self, rows: Ints) -> _Node:
        return replace(
            self,
            candidates=self.candidates[rows],
            gains=self.gains[rows],
            overlaps=self.overlaps.take(rows),
        )


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
        node = self._join_covered(node.keep(np.flatnonzero(node.count + node.gains <= self.limit)))
        room = self.prover.max_members - len(node.chosen)
        if room < 1 or not len(node.candidates):
            return True
        self._note(node)
        if len(self.found) >= self.most:
            return False
        if room < 2 or len(node.candidates) < 2 or self._settled(node, 2, room):
            return True
        if len(node.candidates) <= PAIRS_AT:
            own = self.prover.words[node.candidates] & ~node.fused
            shared = shared_counts(own)
            self._note_pairs(node, shared)
            if len(self.found) >= self.most:
                return False
            area = max(1, len(self.prover.table) - 1 - node.count)
            if self._settled(replace(node, overlaps=Overlaps.of_pairs(shared, area)), 3, room):
                return True
        return self.left > 0 and self._children(node)

    def _join_covered(self, node: _Node) -> _Node:
        """Add chips that bring no new fault: they raise the value and nothing else.

        With few members left this overstates the value, which is safe; `chosen` stays a group that
        is allowed, or counts as full.
        """
        covered = np.flatnonzero(node.gains == 0)
        if not len(covered):
            return node
        chips = node.candidates[covered]
        joined = replace(
            node,
            chosen=(*node.chosen, *chips.tolist()),
            value=node.value + float(self.values[chips].sum()),
        ).keep(np.flatnonzero(node.gains > 0))
        if len(joined.chosen) <= self.prover.max_members:
            if joined.value > self.prover.table[joined.count] * (1 + 1e-9) + 1e-9:
                self.found.append(joined.chosen)
            return joined
        return replace(joined, chosen=node.chosen)

    def _note(self, node: _Node) -> None:
        """Keep the candidates that overcharge at once."""
        prices = self.prover.table[node.count + node.gains]
        excess = node.value + self.values[node.candidates] - prices
        over = np.flatnonzero(excess > 1e-9 * (1 + prices))[: self.most - len(self.found)]
        self.found += [(*node.chosen, int(node.candidates[i])) for i in over]

    def _note_pairs(self, node: _Node, shared: Ints) -> None:
        """Keep the pairs of candidates that overcharge together."""
        first, second = np.triu_indices(len(shared), 1)
        counts = node.count + node.gains[first] + node.gains[second] - shared[first, second]
        prices = np.append(self.prover.table, np.inf)[np.minimum(counts, self.limit + 1)]
        values = self.values[node.candidates]
        excess = node.value + values[first] + values[second] - prices
        over = np.flatnonzero(excess > 1e-9 * (1 + values.sum()))
        over = over[np.argsort(-excess[over], kind="stable")][: self.most - len(self.found)]
        pairs = zip(node.candidates[first[over]], node.candidates[second[over]], strict=True)
        self.found += [(*node.chosen, int(i), int(j)) for i, j in pairs]

    def _settled(self, node: _Node, fewest: int, room: int) -> bool:
        branch = Branch(
            node.value,
            node.count,
            self.values[node.candidates],
            node.gains,
            node.overlaps,
            self.prover.table,
            self.limit,
        )
        return branch.overcharge(fewest, room) <= 0

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
