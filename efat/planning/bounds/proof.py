"""Prove how far dual values overcharge any group: branch and bound over groups.

For values u, the search finds the largest ratio `u(G) / c(G)` over all groups. A branch consists of
chosen chips and of candidates that may join them. It is split into branches that each choose one of
a few candidates, and none before it, and one branch without these candidates. The branch of the
largest bound is split next, so that all open branches are bounded at any time. Groups with one or
two chips added are priced exactly.
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

BRANCHING = 8
"""Candidates that a branch is split by."""
SIZE_SUMS = (1.3, 2.0, 3.0)
"""Sums of the sizes of a group, over its faults, for each of which overlaps are divided."""
MOST_REPORTED = 4
"""Most overcharged pairs, and single chips, that one branch reports."""
OVERCHARGED = 1 + 1e-9
"""Ratio above which a group counts as overcharged; the margin exceeds the rounding of sums."""

OpenBranch = tuple[ChipIndices, float, int, Ints]
"""A branch to split later: chosen chips, value, room, candidates."""


@dataclass(frozen=True)
class SearchResult:
    """Outcome of a search.

    Args:
        ratio: No group has a larger `u(G) / c(G)`; at least 1, may be inf.
        counterexamples: Groups with a ratio above 1.
        branches: Branches expanded.
    """

    ratio: float
    counterexamples: tuple[ChipIndices, ...]
    branches: int


@dataclass(frozen=True, eq=False)
class Prover(FleetOverlaps):
    """Search for the group with the largest `u(G) / f(|F_G|)`.

    Args:
        words: Packed maps [chips, words].
        pes: PEs of the array.
        table: Price f for each number of faults, non-decreasing, inf at the end.
        max_members: Most chips in a group.
    """

    table: Floats
    max_members: int

    @cached_property
    def limit(self) -> int:
        """Largest number of faults with a finite price."""
        return int(np.searchsorted(self.table, np.inf)) - 1

    def search(self, values: Floats, branches: int, counterexamples: int = 64) -> SearchResult:
        """Expand about `branches` branches, for values u [chips], all at least 0.

        Stops early once all is proved or `counterexamples` groups are overcharged.
        """
        run = _BranchAndBound(self, values, self.divisions(values))
        run.expand(run.restore((), 0.0, self.max_members, np.flatnonzero(values > 0)), np.inf)
        ratio = run.proved
        while run.open and -run.open[0][0] > run.reached:
            if run.expanded >= branches or len(run.counterexamples) >= counterexamples:
                break
            bound, _, branch = heapq.heappop(run.open)
            for child in run.split(run.restore(*branch)):
                run.expand(child, -bound)
            # a proved ratio remains valid, though covered chips may overstate a group later
            ratio = min(ratio, run.proved)
        return SearchResult(
            ratio * OVERCHARGED, tuple(dict.fromkeys(run.counterexamples)), run.expanded
        )

    def divisions(self, values: Floats) -> tuple[Floats, ...]:
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
            for sums in SIZE_SUMS
        )

    def root_bound(self, values: Floats) -> float:
        """Bound the ratio of all groups by the first branch alone; at least 1."""
        run = _BranchAndBound(self, values)
        node = run.restore((), 0.0, self.max_members, np.arange(len(values)))
        node = run.join_covered(node)
        run.price(node, 0)
        if min(self.max_members, len(node.candidates)) >= FEWEST:
            split, partners = self.root
            run.reached = max(run.reached, run.bounded(node, 0, split, partners).ratio(run.reached))
        return run.reached * OVERCHARGED

    @cached_property
    def root(self) -> tuple[OverlapSplit, tuple[OverlapShares]]:
        """The branch with all faulty chips as candidates, overlaps divisions evenly."""
        none = np.zeros(self.maps.shape[1], dtype=bool)
        chips = np.flatnonzero(np.diagonal(self.overlaps))
        overlaps = self.overlaps[np.ix_(chips, chips)]
        split = self.split(none, chips, np.diagonal(overlaps), overlaps)
        even = np.full_like(overlaps, 0.5)
        return split, (OverlapShares.of(split.sizes, split.overlaps, even),)


@dataclass(frozen=True)
class _Node:
    """A branch with the gains and overlaps of its candidates.

    Args:
        chosen: Chosen chips, those without a new fault included.
        value: Their value.
        room: Most chips that may still join.
        fused: Fused map of the chosen chips [PEs].
        candidates: Chips that may join [candidates].
        gains: New faults of each [candidates].
        overlaps: New faults that pairs share [candidates, candidates].
    """

    chosen: ChipIndices
    value: float
    room: int
    fused: Mask
    candidates: Ints
    gains: Floats
    overlaps: Floats

    def restrict(self, rows: Ints) -> tuple[Ints, Floats, Floats]:
        """Return candidates, gains and overlaps of some candidates."""
        return self.candidates[rows], self.gains[rows], self.overlaps[np.ix_(rows, rows)]


@dataclass
class _BranchAndBound:
    """The state of a search: open branches, largest bound first, and the largest ratio reached."""

    prover: Prover
    values: Floats
    shares: tuple[Floats, ...] = ()
    open: list[tuple[float, int, OpenBranch]] = field(default_factory=list)
    counterexamples: list[ChipIndices] = field(default_factory=list)
    reached: float = 1.0
    expanded: int = 0

    @property
    def proved(self) -> float:
        """A ratio that no group exceeds, by the branches that are open now."""
        return max(-self.open[0][0] if self.open else 0.0, self.reached)

    def restore(self, chosen: ChipIndices, value: float, room: int, candidates: Ints) -> _Node:
        """Compute a branch again: storing all open branches would take gigabytes."""
        prover = self.prover
        fused: Mask = np.bitwise_or.reduce(prover.maps[list(chosen)], axis=0).view(bool)
        overlaps = prover.overlaps[np.ix_(candidates, candidates)]
        overlaps = overlaps - gram(prover.block(fused, candidates))
        gains = np.diagonal(overlaps).copy()
        return _Node(chosen, value, room, fused, candidates, gains, overlaps)

    def split(self, node: _Node) -> Iterator[_Node]:
        """Split a branch by its first candidates; the last part excludes all of them."""
        maps = self.prover.maps
        for i in range(min(BRANCHING, len(node.candidates))):
            chip, rest = int(node.candidates[i]), np.arange(i + 1, len(node.candidates))
            new = maps[chip].view(bool) & ~node.fused
            fused: Mask = node.fused | maps[chip].view(bool)
            candidates, _, overlaps = node.restrict(rest)
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
        if len(node.candidates) > BRANCHING:
            rest = np.arange(BRANCHING, len(node.candidates))
            yield _Node(node.chosen, node.value, node.room, node.fused, *node.restrict(rest))

    def expand(self, node: _Node, bound: float) -> None:
        """Price the small groups of a branch; leave it open where larger ones may be worse."""
        self.expanded += 1
        node = self.join_covered(self._drop_too_many(node))
        count = int(node.fused.sum())
        self.price(node, count)
        if min(node.room, len(node.candidates)) < FEWEST:
            return
        split = self.prover.split(node.fused, node.candidates, node.gains, node.overlaps)
        partners = self.partners(node, split)
        bound = min(bound, self.bounded(node, count, split, partners).ratio(self.reached))
        if bound > self.reached * OVERCHARGED:
            order = node.candidates[split.order()]
            branch = (node.chosen, node.value, node.room, order)
            heapq.heappush(self.open, (-bound, self.expanded, branch))

    def bounded(
        self, node: _Node, count: int, split: OverlapSplit, partners: tuple[OverlapShares, ...]
    ) -> Branch:
        """Build the bound of a branch of `count` faults."""
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
        return _Node(node.chosen, node.value, node.room, node.fused, *node.restrict(fits))

    def join_covered(self, node: _Node) -> _Node:
        """Add the candidates without a new fault: they only raise the value.

        They take no room: where members are limited this overstates the value, which is safe.
        """
        covered = node.candidates[node.gains == 0]
        if not len(covered) or node.room < 1:
            return node
        chosen = (*node.chosen, *covered.tolist())
        value = node.value + float(self.values[covered].sum())
        rest = np.flatnonzero(node.gains > 0)
        return _Node(chosen, value, node.room, node.fused, *node.restrict(rest))

    def price(self, node: _Node, count: int) -> None:
        """Price the chosen chips alone, with each candidate, and with each pair of them."""
        chips, gains = node.candidates, node.gains
        self._record(node, np.zeros((1, 0), dtype=np.int64), np.array([count]))
        if node.room > 0:
            self._record(node, chips[:, None], count + gains)
        if node.room > 1:
            i, j = np.triu_indices(len(chips), 1)
            unions = count + gains[i] + gains[j] - node.overlaps[i, j]
            self._record(node, np.stack([chips[i], chips[j]], axis=1), unions)

    def _record(self, node: _Node, extra: Ints, counts: Floats | Ints) -> None:
        """Record the ratios of the chosen chips with `extra` [groups, chips] added."""
        if not len(extra):
            return
        totals = node.value + self.values[extra].sum(axis=1)
        limit = self.prover.limit
        prices = np.append(self.prover.table[: limit + 1], np.inf)
        prices = prices[np.minimum(counts, limit + 1).astype(np.int64)]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(totals > 0, totals / prices, 0.0)
        self.reached = max(self.reached, float(ratios.max()))
        over = np.flatnonzero(ratios > OVERCHARGED)
        for row in over[np.argsort(-ratios[over], kind="stable")][:MOST_REPORTED].tolist():
            group = (*node.chosen, *extra[row].tolist())
            if len(group) <= self.prover.max_members:
                self.counterexamples.append(tuple(sorted(group)))
