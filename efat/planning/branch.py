r"""How much a group can be overcharged at the most: the bound on one branch of the proof.

Let `c(G) = f(|F_G|)`, f non-decreasing, and let a branch have chosen chips with fused map U, t
faults and value v. An extension A of r candidates has

    |F_A \ U| >= 2/(k+1) (S1 - S2 / k)    for each integer k >= 1   (Dawson & Sankoff 1967)

with S1 the sum over A of the gains `g_j = |F_j \ U|` and S2 the sum over its pairs of their
overlaps (k = 1 is Bonferroni). Overlaps are split as `o_ij = s_i s_j / N + e_ij`: the part that
independent maps would have, and the rest. With S = sum s_j the first sums to `(S^2 - sum s_j^2) /
2N`; the second is at most half the sum over j of the r-1 largest `e_j.`. For S in [a, b], `S^2 <=
(a + b) S - a b` (the chord), so S1 - S2/k is at least a sum over A of weights plus a constant:
`h(A) + const`. With the weights rounded down to whole units, the largest value of m chips of a
given weight is a knapsack, solved exactly by dynamic programming; the overcharge is at most the
maximum over S intervals, m and weights of that value, less f of the weight. Every step is an
inequality: nothing rests on independent maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efat.planning.cost import Floats, Ints, Words, count_faults, union_counts

ORDERS = np.arange(1, 9)
"""Values of k in the bound of Dawson and Sankoff."""
INTERVALS = 4
"""Intervals of S."""
UNITS = 512
"""Whole units that the largest weight is cut into."""


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
        """Look at all pairs of packed maps [maps, words], one row at a time."""
        n, counts = len(words), count_faults(words)
        depth = max(1, min(depth, n - 1))
        kept = np.zeros((n, depth))
        for i in range(n):
            shared = counts + counts[i] - union_counts(words[i], words)
            rest = shared - counts * (counts[i] / area)
            rest[i] = -np.inf
            kept[i] = np.sort(np.partition(rest, n - depth)[n - depth :])[::-1]
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


@dataclass(frozen=True)
class Branch:
    """A branch of the proof: what was chosen, and who may still join.

    Args:
        value: Value v of the chosen chips.
        count: Faults t of their fused map.
        values: Values u of the candidates, positive [candidates].
        gains: New faults that each would bring [candidates].
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

    def overcharge(self, room: int) -> float:
        """Bound `u(G) - f(|F_G|)` over the groups with 2 to `room` more chips."""
        worst, most = -np.inf, min(room, len(self.values))
        fewest = 2
        while fewest <= most and worst <= 0:
            more = min(most, fewest if fewest < 10 else fewest * 5 // 4)
            bound = self._overcharge(fewest, more)
            if bound is None:  # not even the lightest fit, so no larger extension fits either
                break
            worst = max(worst, bound)
            fewest = more + 1
        return worst

    def _overcharge(self, fewest: int, more: int) -> float | None:
        """Bound it over `fewest` to `more` further chips; None if `fewest` do not fit."""
        known = self.overlaps
        ordered = np.sort(known.sizes)
        edges = self._edges(ordered[:fewest].sum(), ordered[-more:].sum(), more)
        weights, constant = self._weights(edges[:-1], edges[1:], more)
        spare = self.limit - self.count
        least = _smallest(weights, fewest, more)
        fits = least + constant <= spare + 1e-6
        if not fits.any():
            return None
        pairs = zip(weights[fits], constant[fits], strict=True)
        return max(self._knapsack(h, float(c), fewest, more) for h, c in pairs)

    def _edges(self, low: float, high: float, more: int) -> Floats:
        """Cut S into intervals: narrow where groups may fit, wider and wider beyond."""
        grid = np.linspace(low, high, 129)
        fits = self._guess(grid, more).max(axis=1) <= self.limit - self.count
        inside = grid[min(len(grid) - 1, int(np.flatnonzero(fits).max(initial=0)) + 1)]
        cut = np.linspace(low, inside, INTERVALS + 1)
        if inside >= high:
            return cut
        return np.append(cut, inside + (high - inside) * np.linspace(0.0, 1.0, 5)[1:] ** 2)

    def _guess(self, sums: Floats, more: int) -> Floats:
        """Guess the new faults by small chips [sums, orders]; only picks cuts and orders."""
        known = self.overlaps
        small = np.argsort(known.sizes, kind="stable")[: max(2, len(known.sizes) // 4)]
        total = max(float(known.sizes[small].sum()), 1.0)
        gain = float(self.gains[small].sum()) / total
        lost = float(known.largest(more - 1)[small].sum()) / (2 * total)
        own = float((known.sizes[small] ** 2).sum()) / (2 * known.area * total)
        pairs = sums**2 / (2 * known.area) + (lost - own) * sums
        guess: Floats = 2 / (ORDERS + 1) * ((gain * sums)[:, None] - pairs[:, None] / ORDERS)
        return guess

    def _weights(self, low: Floats, high: Floats, more: int) -> tuple[Floats, Floats]:
        """Return weights h [intervals, candidates] and constants [intervals]."""
        known = self.overlaps
        best = self._guess((low + high) / 2, more).argmax(axis=1)
        k = ORDERS[best].astype(np.float64)
        factor = 2 / (k + 1)
        pairs = known.sizes**2 / (2 * known.area) - known.largest(more - 1) / 2
        slope = (low + high) / (2 * known.area)
        inner = self.gains + (pairs - slope[:, None] * known.sizes) / k[:, None]
        return factor[:, None] * inner, factor * low * high / (2 * known.area * k)

    def _knapsack(self, weights: Floats, constant: float, fewest: int, more: int) -> float:
        """Bound the overcharge where the new faults are at least `weights` of A + `constant`."""
        spare = self.limit - self.count
        shift = max(0.0, -float(weights.min()))  # the number of chips is known, so this is exact
        unit = max(spare - constant + more * shift, 1.0) / UNITS
        steps = np.floor((weights + shift) / unit - 1e-9).clip(0).astype(np.int64)
        best = np.full((more + 1, UNITS + 2), -np.inf)
        best[0, 0] = self.value
        for step, value in zip(steps.tolist(), self.values.tolist(), strict=True):
            if step <= UNITS + 1:
                reached = best[1:, step:]
                np.maximum(reached, best[:-1, : UNITS + 2 - step] + value, out=reached)
        sizes = np.arange(fewest, more + 1)[:, None]
        faults = np.ceil(np.arange(UNITS + 2) * unit - sizes * shift + constant - 1e-6)
        at = self.count + np.minimum(faults.clip(0), spare + 1).astype(np.int64)
        excess = best[fewest:] - np.append(self.table, np.inf)[at]
        return float(excess.max()) + 1e-9 * (1 + self.value + float(self.values.max()) * more)


def _smallest(weights: Floats, fewest: int, more: int) -> Floats:
    """Sum the smallest weights of each row over any number of them from `fewest` to `more`."""
    sums = np.cumsum(np.sort(weights, axis=1)[:, :more], axis=1)[:, fewest - 1 :]
    smallest: Floats = sums.min(axis=1)
    return smallest
