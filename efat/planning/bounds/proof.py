"""Proof of how far dual values overcharge any group: a search over groups, cut by the branch bound.

For values u the largest ratio `u(G) / c(G)` over all groups is sought. A branch has chosen some
chips and has candidates that may join them; it is cut into those branches that choose one of a few
candidates, and none before it, and one that leaves these out. The branch of the largest bound is
cut next, so that what is left is bounded at any time. Groups with one or two more chips are priced
exactly.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from efat.planning.bounds.branch_bound import FEWEST, Branch
from efat.planning.bounds.overlaps import FleetOverlaps, Mask, OverlapSplit, gram
from efat.planning.bounds.partners import OverlapShares, split_overlaps
from efat.planning.cost import Floats, Ints
from efat.planning.merge_forest import ChipIndices

FAN = 8
"""Candidates that a branch is cut by."""
SUMS = (1.3, 2.0, 3.0)
"""What the sizes of a group may sum to over its faults: overlaps are divided for each."""
NOTED = 4
"""Overcharged pairs, and single chips, that one branch reports at the most."""
OVER = 1 + 1e-9
"""Ratio above which a group counts as overcharged: more than the rounding of sums."""

Kept = tuple[ChipIndices, float, int, Ints]


@dataclass(frozen=True)
class SearchResult:
    """Outcome of a search.

    Args:
        ratio: No group has a larger `u(G) / c(G)`; at least 1, may be inf.
        counterexamples: Groups found with a ratio above 1.
        branches: Branches looked at.
    """

    ratio: float
    counterexamples: tuple[ChipIndices, ...]
    branches: int


@dataclass(frozen=True, eq=False)
class Prover(FleetOverlaps):
    """Searches for the group with the largest `u(G) / f(|F_G|)`.

    Args:
        words: Packed maps [chips, words].
        pes: PEs of the array.
        table: Price f for each number of faults, non-decreasing, inf at the end.
        max_members: Chips in a group at the most.
    """

    table: Floats
    max_members: int

    @cached_property
    def limit(self) -> int:
        """Largest number of faults with a finite price."""
        return int(np.searchsorted(self.table, np.inf)) - 1

    def search(self, values: Floats, branches: int, counterexamples: int = 64) -> SearchResult:
        """Look at about `branches` branches, for values u [chips], all at least 0.

        Stops early where nothing is left to prove or `counterexamples` groups are overcharged.
        """
        run = _BranchAndBound(self, values, self.divided(values))
        run.expand(run.restore((), 0.0, self.max_members, np.flatnonzero(values > 0)), np.inf)
        ratio = run.proved
        while run.open and -run.open[0][0] > run.reached:
            if run.looked >= branches or len(run.found) >= counterexamples:
                break
            bound, _, kept = heapq.heappop(run.open)
            for child in run.cut(run.restore(*kept)):
                run.expand(child, -bound)
            # what was proved stays proved, though covered chips may overstate a group later
            ratio = min(ratio, run.proved)
        return SearchResult(ratio * OVER, tuple(dict.fromkeys(run.found)), run.looked)

    def divided(self, values: Floats) -> tuple[Floats, ...]:
        """Divide the overlaps of all pairs, for groups of the best price per fault."""
        counts = np.arange(1, self.limit + 1)
        if not len(counts):
            return ()
        faults = float(counts[np.argmin(self.table[counts] / counts)])
        chips = np.arange(len(values))
        none = np.zeros(self.maps.shape[1], dtype=bool)
        split = self.split(none, chips, np.diagonal(self.overlaps), self.overlaps)
        return tuple(
            split_overlaps(split.sizes, split.overlaps, values, faults, sums * faults)
            for sums in SUMS
        )

    def root_bound(self, values: Floats) -> float:
        """Bound the ratio of all groups by the first branch alone; at least 1."""
        run = _BranchAndBound(self, values)
        node = run.restore((), 0.0, self.max_members, np.arange(len(values)))
        node = run.join_covered(node)
        run.price(node, 0)
        if min(self.max_members, len(node.candidates)) >= FEWEST:
            split, partners = self.whole
            run.reached = max(run.reached, run.branch(node, 0, split, partners).ratio(run.reached))
        return run.reached * OVER

    @cached_property
    def whole(self) -> tuple[OverlapSplit, tuple[OverlapShares]]:
        """All chips that have a fault as the candidates of one branch, overlaps divided evenly."""
        none = np.zeros(self.maps.shape[1], dtype=bool)
        chips = np.flatnonzero(np.diagonal(self.overlaps))
        overlaps = self.overlaps[np.ix_(chips, chips)]
        split = self.split(none, chips, np.diagonal(overlaps), overlaps)
        even = np.full_like(overlaps, 0.5)
        return split, (OverlapShares.of(split.sizes, split.overlaps, even),)


@dataclass(frozen=True)
class _Node:
    """A branch: chips chosen, and what those that may join would bring.

    Args:
        chosen: Chips chosen; those that brought no new fault too.
        value: Their value.
        room: Chips that may still join.
        fused: Their fused map [PEs].
        candidates: Who may join [candidates].
        gains: New faults of each [candidates].
        overlaps: New faults that pairs have in common [candidates, candidates].
    """

    chosen: ChipIndices
    value: float
    room: int
    fused: Mask
    candidates: Ints
    gains: Floats
    overlaps: Floats

    def keep(self, rows: Ints) -> tuple[Ints, Floats, Floats]:
        return self.candidates[rows], self.gains[rows], self.overlaps[np.ix_(rows, rows)]


@dataclass
class _BranchAndBound:
    """One search: open branches, largest bound first; the largest ratio that some group reaches."""

    prover: Prover
    values: Floats
    shares: tuple[Floats, ...] = ()
    open: list[tuple[float, int, Kept]] = field(default_factory=list)
    found: list[ChipIndices] = field(default_factory=list)
    reached: float = 1.0
    looked: int = 0

    @property
    def proved(self) -> float:
        """What no group exceeds, by the branches that are open now."""
        return max(-self.open[0][0] if self.open else 0.0, self.reached)

    def restore(self, chosen: ChipIndices, value: float, room: int, candidates: Ints) -> _Node:
        """Work a branch out anew: keeping all that are open would take gigabytes."""
        prover = self.prover
        fused: Mask = np.bitwise_or.reduce(prover.maps[list(chosen)], axis=0).view(bool)
        overlaps = prover.overlaps[np.ix_(candidates, candidates)]
        overlaps = overlaps - gram(prover.block(fused, candidates))
        gains = np.diagonal(overlaps).copy()
        return _Node(chosen, value, room, fused, candidates, gains, overlaps)

    def cut(self, node: _Node) -> Iterator[_Node]:
        """Cut a branch by its first candidates; the last part leaves them all out."""
        maps = self.prover.maps
        for i in range(min(FAN, len(node.candidates))):
            chip, rest = int(node.candidates[i]), np.arange(i + 1, len(node.candidates))
            new = maps[chip].view(bool) & ~node.fused
            fused: Mask = node.fused | maps[chip].view(bool)
            candidates, _, overlaps = node.keep(rest)
            overlaps = overlaps - gram(self.prover.block(new, candidates))
            yield _Node(
                (*node.chosen, chip),
                node.value + float(self.values[chip]),
                node.room - 1,
                fused,
                candidates,
                np.diagonal(overlaps).copy(),
                overlaps,
            )
        if len(node.candidates) > FAN:
            rest = np.arange(FAN, len(node.candidates))
            yield _Node(node.chosen, node.value, node.room, node.fused, *node.keep(rest))

    def expand(self, node: _Node, bound: float) -> None:
        """Price the small groups of a branch; keep it open where larger ones may be worse."""
        self.looked += 1
        node = self.join_covered(self._drop_too_many(node))
        count = int(node.fused.sum())
        self.price(node, count)
        if min(node.room, len(node.candidates)) < FEWEST:
            return
        split = self.prover.split(node.fused, node.candidates, node.gains, node.overlaps)
        partners = self.partners(node, split)
        bound = min(bound, self.branch(node, count, split, partners).ratio(self.reached))
        if bound > self.reached * OVER:
            order = node.candidates[split.order()]
            kept = (node.chosen, node.value, node.room, order)
            heapq.heappush(self.open, (-bound, self.looked, kept))

    def branch(
        self, node: _Node, count: int, split: OverlapSplit, partners: tuple[OverlapShares, ...]
    ) -> Branch:
        """Put together what bounds a branch of `count` faults."""
        return Branch(
            node.value,
            count,
            self.values[node.candidates],
            node.gains,
            split.sizes,
            split.shares,
            split.spectrum.largest,
            split.area,
            node.room,
            self.prover.table,
            self.prover.limit,
            partners,
        )

    def partners(self, node: _Node, split: OverlapSplit) -> tuple[OverlapShares, ...]:
        among = np.ix_(node.candidates, node.candidates)
        return tuple(OverlapShares.of(split.sizes, split.overlaps, q[among]) for q in self.shares)

    def _drop_too_many(self, node: _Node) -> _Node:
        fits = np.flatnonzero(int(node.fused.sum()) + node.gains <= self.prover.limit)
        if len(fits) == len(node.candidates):
            return node
        return _Node(node.chosen, node.value, node.room, node.fused, *node.keep(fits))

    def join_covered(self, node: _Node) -> _Node:
        """Let chips join that bring no new fault: they raise the value and nothing else.

        They take no room: where members are limited this overstates the value, which is safe.
        """
        covered = node.candidates[node.gains == 0]
        if not len(covered) or node.room < 1:
            return node
        chosen = (*node.chosen, *covered.tolist())
        value = node.value + float(self.values[covered].sum())
        rest = np.flatnonzero(node.gains > 0)
        return _Node(chosen, value, node.room, node.fused, *node.keep(rest))

    def price(self, node: _Node, count: int) -> None:
        """Price the chosen chips alone, with each candidate, and with each pair of them."""
        chips, gains = node.candidates, node.gains
        self._note(node, np.zeros((1, 0), dtype=np.int64), np.array([count]))
        if node.room > 0:
            self._note(node, chips[:, None], count + gains)
        if node.room > 1:
            i, j = np.triu_indices(len(chips), 1)
            unions = count + gains[i] + gains[j] - node.overlaps[i, j]
            self._note(node, np.stack([chips[i], chips[j]], axis=1), unions)

    def _note(self, node: _Node, more: Ints, counts: Floats | Ints) -> None:
        """Compare value and price of the chosen chips with `more` [groups, chips]."""
        if not len(more):
            return
        worth = node.value + self.values[more].sum(axis=1)
        limit = self.prover.limit
        prices = np.append(self.prover.table[: limit + 1], np.inf)
        prices = prices[np.minimum(counts, limit + 1).astype(np.int64)]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(worth > 0, worth / prices, 0.0)
        self.reached = max(self.reached, float(ratios.max()))
        over = np.flatnonzero(ratios > OVER)
        for row in over[np.argsort(-ratios[over], kind="stable")][:NOTED].tolist():
            group = (*node.chosen, *more[row].tolist())
            if len(group) <= self.prover.max_members:
                self.found.append(tuple(sorted(group)))
