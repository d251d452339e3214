r"""How much a group can be overcharged at the most: the bound on one branch of the proof.

Let `c(G) = f(|F_G|)`, f non-decreasing, and let a branch have chosen chips with fused map U, t
faults and value v. Its candidates bring the gains `F_j \ U`. PEs fall into two classes.

*Shared* PEs are faulty on many chips (systematic faults). One that is faulty on d candidates is
covered once, whatever the number of those that are chosen, so it counts for at least 1/d with each:
chip j has the *share* `w_j`, the sum of 1/d over its shared PEs, and an extension A covers at least
`w(A)` of them. That is exact where a whole branch takes or leaves a weak spot of the process.

Of the other PEs an extension covers at least

    2/(k+1) (S1 - S2 / k)    for each integer k >= 1   (Dawson & Sankoff 1967)

with S1 the sum over A of the sizes `s_j` (the gains without shared PEs) and S2 the sum over its
pairs of their overlaps `o_ij` (k = 1 is Bonferroni). Overlaps are split as `o_ij = s_i s_j / N +
e_ij`: the part that independent maps would have on N PEs, and the rest. With S = S1 the first
sums to `(S^2 - sum s_j^2) / 2N` over the pairs. The second is a quadratic form in the choice x,
`sum over i != j of e_ij x_i x_j <= L sum s_j x_j`, with L the largest eigenvalue of
`e_ij / sqrt(s_i s_j)`, 0 on the diagonal (Rayleigh's quotient; x_j^2 = x_j). For S in [a, b],
`S^2 <= (a + b) S - a b` (the chord). So an extension brings at least a sum over A of weights plus a
constant: `h(A) + const` new faults. As S <= b, adding `m (S - b)` with m >= 0 keeps it a bound; so
weights are kept away from 0, where a candidate would count for nothing. The largest value of a
given weight is a knapsack, bounded by its linear relaxation (Dantzig 1957); the ratio of value to
price is at most the largest over the weights and the intervals of S. Every step is an inequality:
nothing rests on independent maps, and no extension is left out, however many chips it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efat.planning.cost import Floats

FEWEST = 3
"""Chips that an extension has at the least; smaller ones are priced one by one."""
INTERVALS = 20
"""Intervals that S is cut into, narrow ones where it is small."""
TRIED = 200
"""Values of S at which is tried whether anything fits."""
POINTS = 96
"""Weights at which value and price are compared, close where they are small."""
LIGHTEST = (0.2, 0.5, 0.05)
"""Least weights of a candidate over its gain, tried in turn: the larger, the more S <= b counts."""
BONUSES = (0.05, 0.2, 0.8)
"""Bonuses that are tried, over the largest value."""
NEAR = 0.97
"""Intervals within this share of the worst one are looked at again with other k and weights."""


@dataclass(frozen=True)
class Spectrum:
    """The part of the overlaps that independent maps would not have.

    Args:
        largest: Bound L on the quadratic form, at least 0.
        unrest: Weight of each candidate in the eigenvectors of the largest eigenvalues, each times
            its eigenvalue [candidates]: who makes L large.
    """

    largest: float
    unrest: Floats

    @classmethod
    def of(cls, sizes: Floats, shared: Floats, area: float) -> Spectrum:
        """Take sizes s [maps] and overlaps o [maps, maps], with any area N above 0."""
        root = np.sqrt(sizes)
        scale = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
        excess = shared * scale[:, None] * scale - np.outer(root, root) / area
        np.fill_diagonal(excess, 0.0)
        eigenvalues, vectors = np.linalg.eigh(excess)
        top, of_top = np.maximum(eigenvalues[-3:], 0.0), vectors[:, -3:]
        largest = float(top[-1])
        rounding = 1e-9 * (1 + float(np.abs(eigenvalues).max()))
        return cls(largest + rounding, (top * of_top**2).sum(axis=1))


@dataclass(frozen=True)
class Branch:
    """A branch of the proof: what was chosen, and who may still join.

    Args:
        value: Value v of the chosen chips.
        count: Faults t of their fused map.
        values: Values u of the candidates [candidates].
        gains: New faults that each would bring, at least 1 [candidates].
        sizes: Gains s without shared PEs [candidates].
        shares: Shares w [candidates]; no gain is below size and share together.
        loss: Bound L on the overlaps of sizes beyond those of independent maps.
        area: Area N, above 0.
        room: Chips that may still join.
        table: Price f for each number of faults.
        limit: Largest number of faults with a finite price.
    """

    value: float
    count: int
    values: Floats
    gains: Floats
    sizes: Floats
    shares: Floats
    loss: float
    area: float
    room: int
    table: Floats
    limit: int

    def ratio(self, enough: float = 0.0) -> float:
        """Bound `u(G) / f(|F_G|)` over the groups with at least `FEWEST` more chips; may be -inf.

        inf where the price of a group cannot be kept away from 0. A bound that is not above
        `enough` is not made better.
        """
        if min(self.room, len(self.values)) < FEWEST:
            return -np.inf
        edges = self._edges()
        low, high = edges[:-1], edges[1:]
        k = 1 + np.floor((low + high) / (2 * self.area) + self.loss)
        worst = self._ratios(low, high, k, LIGHTEST[0])
        for lightest in LIGHTEST:
            for step in (0, -1, 1):
                if worst.max() <= enough:
                    return float(worst.max())
                again = np.flatnonzero(worst >= NEAR * worst.max())
                other = np.maximum(k[again] + step, 1)
                found = self._ratios(low[again], high[again], other, lightest)
                worst[again] = np.minimum(worst[again], found)
        for bonus in BONUSES:
            if worst.max() <= enough:
                break
            again = np.flatnonzero(worst >= NEAR * worst.max())
            extra = bonus * float(self.values.max())
            found = self._ratios(low[again], high[again], k[again], LIGHTEST[0], extra)
            worst[again] = np.minimum(worst[again], found)
        return float(worst.max())

    def _edges(self) -> Floats:
        """Cut what S can be into intervals, up to where nothing fits any more."""
        ordered = np.sort(self.sizes)
        least, most = ordered[:FEWEST].sum(), ordered[-self.room :].sum()
        tried = np.linspace(least, most, TRIED + 1)
        k = np.arange(1, 2 + int(most / self.area + self.loss))[:, None]
        covered = 2 / (k + 1) * (tried - (tried**2 / self.area + self.loss * tried) / (2 * k))
        below = np.minimum(covered[:, :-1], covered[:, 1:]).max(axis=0)  # concave between the two
        fits = np.flatnonzero(below <= self.spare + 1e-6)
        end = float(tried[fits[-1] + 1]) if len(fits) else least
        edges: Floats = least + (end - least) * np.linspace(0.0, 1.0, INTERVALS + 1) ** 2
        return edges

    @property
    def spare(self) -> int:
        """New faults that still fit."""
        return self.limit - self.count

    def _ratios(
        self, low: Floats, high: Floats, k: Floats, lightest: float, bonus: float = 0.0
    ) -> Floats:
        """Bound the ratio where S is in [low, high] [intervals]; -inf where nothing fits.

        A candidate that leaves too little of S to the others has no place there. A `bonus` for each
        chip, taken off again for the `FEWEST`, makes the knapsack prefer many small ones to few
        large ones (a Lagrange multiplier).
        """
        weights, constants = self._weights(low, high, k, lightest)
        spare = self.spare
        fits = constants <= spare + 1e-6
        others = np.sort(self.sizes)[: FEWEST - 1].sum()
        values = np.where(self.sizes <= high[:, None] - others + 1e-6, self.values + bonus, 0.0)
        order = np.argsort(-values / weights, axis=1)
        reached = np.cumsum(np.take_along_axis(values, order, axis=1), axis=1)
        used = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
        start = np.minimum(constants, spare)
        fewest = np.minimum(np.sort(self.gains)[FEWEST - 1], spare)
        least = np.maximum(start, fewest)[:, None]
        grid = least + (spare - least) * np.linspace(0.0, 1.0, POINTS + 1) ** 2
        most = float(np.sort(self.values)[-self.room :].sum())
        filled = _interpolate(grid - start[:, None], used, reached) - bonus * FEWEST
        best = self.value + np.minimum(filled, most)
        faults = np.ceil(np.maximum(grid, 0.0) - 1e-6).astype(np.int64)
        prices = self.table[self.count + faults]
        with np.errstate(divide="ignore", invalid="ignore"):
            between, last = best[:, 1:] / prices[:, :-1], best[:, -1:] / prices[:, -1:]
        ratios = np.concatenate([between, last], axis=1)
        highest = np.nan_to_num(ratios, nan=np.inf, posinf=np.inf).max(axis=1)
        return np.where(fits, highest * (1 + 1e-9), -np.inf)

    def _weights(
        self, low: Floats, high: Floats, k: Floats, lightest: float
    ) -> tuple[Floats, Floats]:
        """Return weights h [intervals, candidates] and constants [intervals].

        A weight is at least size and share of its candidate, times `lightest` and 2 / (k + 1).
        """
        sizes, factor = self.sizes, 2 / (k + 1)
        chord = (low + high)[:, None] * sizes - sizes**2
        lost = (chord / self.area + self.loss * sizes) / (2 * k[:, None])
        weights = factor[:, None] * (sizes - lost) + self.shares
        constants = factor * low * high / (2 * self.area * k)
        missing = (lightest * factor)[:, None] * (sizes + self.shares) - weights
        more_each = np.divide(missing, sizes, out=np.zeros_like(missing), where=sizes > 0)
        more = np.maximum(more_each.max(axis=1), 0.0)
        return weights + more[:, None] * sizes, constants - more * high


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
    found: Floats = np.interp((np.maximum(at, 0.0) + shift).ravel(), xs.ravel(), ys.ravel())
    return found.reshape(at.shape)
