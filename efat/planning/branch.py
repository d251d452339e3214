r"""How much a group can be overcharged at the most: the bound on one branch of the proof.

Let `c(G) = f(|F_G|)`, f non-decreasing, and let a branch have chosen chips with fused map U, t
faults and value v. An extension A of r candidates has

    |F_A \ U| >= 2/(k+1) (S1 - S2 / k)    for each integer k >= 1   (Dawson & Sankoff 1967)

with S1 the sum over A of the gains `g_j = |F_j \ U|` and S2 the sum over its pairs of their
overlaps (k = 1 is Bonferroni). Overlaps are split as `o_ij = s_i s_j / N + e_ij`: the part that
independent maps would have, and the rest. With S = sum s_j the first sums to `(S^2 - sum s_j^2) /
2N`; the second is at most half the sum over j of the r-1 largest `e_j.`. For S in [a, b], `S^2 <=
(a + b) S - a b` (the chord), so S1 - S2/k is at least a sum over A of weights plus a constant:
`h(A) + const`. The largest value of a given weight is a knapsack, bounded by its linear relaxation
(Dantzig 1957); the overcharge is at most the maximum of that value less f, over the weights and the
intervals of S. Every step is an inequality: nothing rests on independent maps.

S is cut off where nothing fits: an extension of larger S has, taking away one chip after the other,
a part whose S lies in any window as wide as the largest s, and a part of what fits does fit. So a
window of intervals in which nothing fits excludes all that lies beyond.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from efat.planning.cost import Floats, Ints, Words, count_faults, union_counts

STEPS = 12
"""Intervals that the S of an extension without overlaps is cut into."""
REACH = 4
"""Multiples of that S up to which a window where nothing fits is looked for."""
POINTS = 256
"""Weights at which value and price are compared."""


@dataclass(frozen=True)
class Overlaps:
    """What is known of the pairs of some maps: `o_ij <= sizes_i sizes_j / area + e_ij`.

    Args:
        sizes: Sizes s [maps].
        area: Area N that they are spread over.
        excess: Running sums of each map's largest e, descending [maps, depth]; column m - 1 holds
            the sum of the m largest, none counted below 0.
        last: The smallest e that was kept [maps]: bounds those beyond `depth`.
    """

    sizes: Floats
    area: float
    excess: Floats
    last: Floats

    @classmethod
    def of(cls, words: Words, area: int, depth: int) -> Overlaps:
        """Look at all pairs of packed maps [maps, words], one row at a time: no n x n matrix."""
        n, counts = len(words), count_faults(words)
        depth = max(1, min(depth, n - 1))
        kept = np.zeros((n, depth))
        for i in range(n):
            rest = counts + counts[i] - union_counts(words[i], words) - counts * (counts[i] / area)
            rest[i] = -np.inf
            kept[i] = np.sort(np.partition(rest, n - depth)[n - depth :])[::-1]
        return cls._of_largest(counts, area, kept)

    @classmethod
    def of_pairs(cls, shared: Ints, area: int) -> Overlaps:
        """Take all overlaps of a few maps [maps, maps], sizes on the diagonal."""
        counts = np.diagonal(shared)
        rest = shared - np.outer(counts, counts) / area
        np.fill_diagonal(rest, -np.inf)
        return cls._of_largest(counts, area, -np.sort(-rest, axis=1)[:, : max(1, len(counts) - 1)])

    @classmethod
    def _of_largest(cls, counts: Ints, area: int, kept: Floats) -> Overlaps:
        kept = np.maximum(kept, 0.0)
        return cls(counts.astype(np.float64), float(area), np.cumsum(kept, axis=1), kept[:, -1])

    def take(self, rows: Ints | slice) -> Overlaps:
        """Keep some of the maps; the bounds on their pairs stay valid."""
        return Overlaps(self.sizes[rows], self.area, self.excess[rows], self.last[rows])

    def largest(self, others: int) -> Floats:
        """Bound the sum of e over any `others` partners of each map [maps]."""
        depth = self.excess.shape[1]
        if others <= depth:
            known: Floats = self.excess[:, others - 1]
            return known
        bound: Floats = self.excess[:, -1] + self.last * (others - depth)
        return bound


def shared_counts(words: Words) -> Ints:
    """Count the faults that each pair of packed maps [maps, words] shares [maps, maps].

    >>> shared_counts(np.array([[3], [6]], np.uint64)).tolist()
    [[2, 1], [1, 2]]
    """
    counts = count_faults(words)
    shared = np.diag(counts)
    for i in range(len(words) - 1):
        row = counts[i] + counts[i + 1 :] - union_counts(words[i], words[i + 1 :])
        shared[i, i + 1 :] = shared[i + 1 :, i] = row
    return shared


@dataclass(frozen=True)
class Branch:
    """A branch of the proof: what was chosen, and who may still join.

    Args:
        value: Value v of the chosen chips.
        count: Faults t of their fused map.
        values: Values u of the candidates, positive [candidates].
        gains: New faults that each would bring, at least 1 [candidates].
        overlaps: What is known of their pairs.
        table: Price f for each number of faults.
        limit: Largest number of faults with a finite price.
    """

    value: float
    count: int
    values: Floats
    gains: Ints
    overlaps: Overlaps
    table: Floats
    limit: int

    @property
    def spare(self) -> int:
        """New faults that still fit."""
        return self.limit - self.count

    def overcharge(self, fewest: int, room: int) -> float:
        """Bound `u(G) - f(|F_G|)` over the groups with `fewest` to `room` more chips.

        Stops at the first positive bound, for then the branch is open anyway.
        """
        worst, most = -np.inf, min(room, len(self.values))
        while fewest <= most and worst <= 0:
            more = min(most, fewest if fewest < 6 else fewest * 5 // 4)
            bound = self._overcharge(fewest, more)
            if bound == -np.inf:  # nothing of that size fits, so nothing larger does
                break
            worst = max(worst, bound)
            fewest = more + 1
        return worst

    def _overcharge(self, fewest: int, more: int) -> float:
        """Bound it over `fewest` to `more` further chips."""
        sizes = np.sort(self.overlaps.sizes)
        edges, closed = self._edges(sizes[:fewest].sum(), sizes[-more:].sum())
        weights, constants = self._weights(edges, more)
        fits = _covers(weights, self.overlaps.sizes, edges[:-1]) + constants <= self.spare
        end = _dead_end(fits, np.diff(edges), float(sizes[-1]) + 1)
        if end is None and not closed:
            return np.inf
        inside = np.flatnonzero(fits[:end])
        if not len(inside):
            return -np.inf
        return self._knapsacks(weights[inside], constants[inside])

    def _edges(self, low: np.float64, high: np.float64) -> tuple[Floats, bool]:
        """Cut S into intervals; say whether they go up to `high`."""
        step = max(self.spare, 1) / STEPS
        number = min(STEPS * REACH, max(1, int(np.ceil((high - low) / step))))
        edges = low + step * np.arange(number + 1, dtype=np.float64)
        return edges, bool(edges[-1] >= high)

    def _weights(self, edges: Floats, more: int) -> tuple[Floats, Floats]:
        """Return weights h [intervals, candidates] and constants [intervals]."""
        known, low, high = self.overlaps, edges[:-1], edges[1:]
        k = 1 + np.floor((low + high) / (2 * known.area))
        factor = 2 / (k + 1)
        chord = (low + high)[:, None] * known.sizes - known.sizes**2
        lost = chord / (2 * known.area) + known.largest(more - 1) / 2
        weights = factor[:, None] * (self.gains - lost / k[:, None])
        return weights, factor * low * high / (2 * known.area * k)

    def _knapsacks(self, weights: Floats, constants: Floats) -> float:
        """Bound the overcharge where the new faults are at least `weights` of A + constant.

        Args:
            weights: Weights h [intervals, candidates].
            constants: Constants [intervals].
        """
        free = weights <= 0  # taken at once: they lower the weight and raise the value
        start = constants + np.where(free, weights, 0.0).sum(axis=1)
        value = self.value + np.where(free, self.values, 0.0).sum(axis=1)
        fits = start <= self.spare
        if not fits.any():
            return -np.inf
        free, weights, start, value = free[fits], weights[fits], start[fits], value[fits]
        weights = np.where(free, 1.0, weights)
        values = np.where(free, 0.0, self.values)
        order = np.argsort(-values / weights, axis=1)
        reached = np.cumsum(np.take_along_axis(values, order, axis=1), axis=1)
        used = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
        grid = start[:, None] + (self.spare - start)[:, None] * np.linspace(0.0, 1.0, POINTS)
        best = value[:, None] + _interpolate(grid - start[:, None], used, reached)
        faults = np.ceil(np.maximum(grid, 0.0) - 1e-6).astype(np.int64)
        prices = self.table[self.count + faults]
        between = float((best[:, 1:] - prices[:, :-1]).max())
        highest = max(between, float((best[:, -1] - prices[:, -1]).max()))
        return highest + 1e-9 * (1 + float(best[:, -1].max()))


def _interpolate(at: Floats, x: Floats, y: Floats) -> Floats:
    """Interpolate each row of y over the same row of x, from (0, 0); flat beyond the end.

    Rows are laid end to end, so that one call serves all.
    """
    width = max(float(x.max()), float(at.max())) + 1
    shift = width * np.arange(len(x))[:, None]
    zero = np.zeros((len(x), 1))
    last = np.full((len(x), 1), width * (1 - 1e-12))
    xs = np.concatenate([zero, x, last], axis=1) + shift
    ys = np.concatenate([zero, y, y[:, -1:]], axis=1)
    found: Floats = np.interp((at + shift).ravel(), xs.ravel(), ys.ravel())
    return found.reshape(at.shape)


def _covers(weights: Floats, sizes: Floats, least: Floats) -> Floats:
    """Bound below the weight of candidates whose sizes sum to `least` [intervals]: fractional."""
    order = np.argsort(weights / sizes, axis=1)
    used = np.take_along_axis(weights, order, axis=1)
    filled = np.cumsum(sizes[order], axis=1)
    before = filled - sizes[order]
    part = np.clip((least[:, None] - before) / sizes[order], 0.0, 1.0)
    part = np.where(used < 0, 1.0, part)  # what weighs less than nothing is always taken
    lightest: Floats = (used * part).sum(axis=1)
    return lightest - 1e-6


def _dead_end(fits: NDArray[np.bool_], widths: Floats, window: float) -> int | None:
    """Find the end of the first run of intervals, `window` wide, where nothing fits."""
    run = 0.0
    for i, (fit, width) in enumerate(_pairs(fits, widths)):
        run = 0.0 if fit else run + width
        if run >= window:
            return i + 1
    return None


def _pairs(fits: NDArray[np.bool_], widths: Floats) -> Iterator[tuple[bool, float]]:
    return zip(fits.tolist(), widths.tolist(), strict=True)
