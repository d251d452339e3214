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
constant: `h(A) + const` new faults. Where groups are small, what each chip can share with its own
partners bounds S2 better (`efat.planning.bounds.partners`); both are tried, and the S that
candidates cannot reach within the faults that are left are ruled out. As S <= b, adding `m (S - b)`
with m >= 0 keeps it a bound; so weights are kept away from 0, where a candidate would count for
nothing. The largest value of a given weight is a knapsack, bounded by its linear relaxation
(Dantzig 1957); the ratio of value to price is at most the largest over the weights and the
intervals of S. Every step is an inequality: nothing rests on independent maps, and no extension is
left out, however many chips it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efat.planning.bounds.partners import OverlapShares, interpolate
from efat.planning.cost import Floats, Ints

FEWEST = 3
"""Chips that an extension has at the least; smaller ones are priced one by one."""
INTERVALS = 20
"""Intervals that S is cut into, narrow ones where it is small."""
TRIED = 200
"""Values of S at which is tried whether anything fits."""
REACHED = 40
"""Values of S at which is tried whether chips that share little reach it."""
POINTS = 96
"""Weights at which value and price are compared, close where they are small."""


@dataclass(frozen=True)
class BoundSettings:
    """A try at a better bound.

    Args:
        lightest: Least weight of a candidate over its gain: the larger, the more S <= b counts.
        step: Added to the k that the overlaps call for.
        bonus: Bonus for each chip, over the largest value.
    """

    lightest: float = 0.2
    step: int = 0
    bonus: float = 0.0


BOUND_SETTINGS = (
    *(BoundSettings(lightest, step) for lightest in (0.2, 0.5, 0.05) for step in (0, -1, 1)),
    *(BoundSettings(bonus=bonus) for bonus in (0.05, 0.2, 0.8)),
)
"""What is tried in turn, as long as it matters."""
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
class _OverlapLoss:
    """Pairs of A share at most `lost(A) - constants` faults; k: how many overlap in one place.

    Args:
        lost: Faults lost with each candidate [intervals, candidates].
        constants: Faults taken off again [intervals].
        k: The k of Dawson & Sankoff that fits best [intervals].
    """

    lost: Floats
    constants: Floats
    k: Floats

    @classmethod
    def between(cls, lost: Floats, constants: Floats, sizes: Floats, sums: Floats) -> _OverlapLoss:
        """Choose k as if all candidates joined alike, their sizes summing to `sums` [intervals]."""
        each = lost.sum(axis=1) / max(float(sizes.sum()), 1e-9) - constants / np.maximum(sums, 1e-9)
        return cls(lost, constants, 1 + np.floor(2 * np.maximum(each, 0.0)))

    def of(self, intervals: Ints) -> _OverlapLoss:
        return _OverlapLoss(self.lost[intervals], self.constants[intervals], self.k[intervals])


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
        partners: What each candidate can share with others, in several divisions.
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
    partners: tuple[OverlapShares, ...] = ()

    def ratio(self, enough: float = 0.0) -> float:
        """Bound `u(G) / f(|F_G|)` over the groups with at least `FEWEST` more chips; may be -inf.

        inf where the price of a group cannot be kept away from 0. A bound that is not above
        `enough` is not made better.
        """
        if min(self.room, len(self.values)) < FEWEST:
            return -np.inf
        edges = self._edges()
        low, high = edges[:-1], edges[1:]
        fewest = np.minimum(np.sort(self.gains)[FEWEST - 1], self.spare)
        grid = fewest + (self.spare - fewest) * np.linspace(0.0, 1.0, POINTS + 1) ** 2
        best = np.tile(self.value + self._most(high)[:, None], len(grid))
        losses, worst = self._losses(low, high), self._ratios(best, grid)
        for turn in BOUND_SETTINGS:
            for loss in losses:
                if worst.max() <= enough:
                    return float(worst.max())
                near = NEAR * worst.max() if turn is not BOUND_SETTINGS[0] else -np.inf
                again = np.flatnonzero(worst >= near)
                found = self._values(low[again], high[again], grid, loss.of(again), turn)
                best[again] = np.minimum(best[again], found)
                worst[again] = self._ratios(best[again], grid)
        return float(worst.max())

    def _edges(self) -> Floats:
        """Cut what S can be into intervals, up to where nothing fits any more."""
        ordered = np.sort(self.sizes)
        least, most = float(ordered[:FEWEST].sum()), float(ordered[-self.room :].sum())
        tried = np.linspace(least, most, TRIED + 1)
        k = np.arange(1, 2 + int(most / self.area + self.loss))[:, None]
        covered = 2 / (k + 1) * (tried - (tried**2 / self.area + self.loss * tried) / (2 * k))
        below = np.minimum(covered[:, :-1], covered[:, 1:]).max(axis=0)  # concave between the two
        fits = np.flatnonzero(below <= self.spare + 1e-6)
        end = float(tried[fits[-1] + 1]) if len(fits) else least
        if self.partners:
            end = self._reached(least, end)
        edges: Floats = least + (end - least) * np.linspace(0.0, 1.0, INTERVALS + 1) ** 2
        return edges

    def _reached(self, least: float, end: float) -> float:
        """Lower the end of S to what candidates reach within the faults that are left."""
        tried = np.linspace(least, end, REACHED + 1)
        low, high = tried[:-1], tried[1:]
        fits = np.ones(len(low), dtype=bool)
        for loss in self._losses(low, high):
            weights, constants = self._weights(high, loss, BOUND_SETTINGS[0])
            room = np.full((len(low), 1), self.spare + 1e-6) - constants[:, None]
            fits &= fractional_knapsack(self.sizes, weights, room)[:, 0] >= low * (1 - 1e-9) - 1e-6
        reached = np.flatnonzero(fits)
        return float(high[reached[-1]]) if len(reached) else least

    @property
    def spare(self) -> int:
        """New faults that still fit."""
        return self.limit - self.count

    def _losses(self, low: Floats, high: Floats) -> list[_OverlapLoss]:
        """Bound the overlaps of all pairs where S is in [low, high], in each way there is."""
        chord = ((low + high)[:, None] * self.sizes - self.sizes**2) / self.area
        spectral = (chord + self.loss * self.sizes) / 2
        ways = [(spectral, low * high / (2 * self.area))]
        ways += [(partners.most(high), np.zeros_like(low)) for partners in self.partners]
        middle = (low + high) / 2
        return [_OverlapLoss.between(*way, self.sizes, middle) for way in ways]

    def _values(
        self, low: Floats, high: Floats, grid: Floats, loss: _OverlapLoss, turn: BoundSettings
    ) -> Floats:
        """Bound the value where S is in [low, high] and the new faults are at most `grid`.

        -inf where nothing fits. A candidate that leaves too little of S to the others has no place
        there. A bonus for each chip, taken off again for the `FEWEST`, makes the knapsack prefer
        many small ones to few large ones (a Lagrange multiplier).

        Returns:
            Bounds [intervals, grid].
        """
        weights, constants = self._weights(high, loss, turn)
        bonus, others = turn.bonus * float(self.values.max()), np.sort(self.sizes)[: FEWEST - 1]
        fits = self.sizes <= high[:, None] - others.sum() + 1e-6
        room = grid + 1e-6 - constants[:, None]
        filled = (
            fractional_knapsack(np.where(fits, self.values + bonus, 0.0), weights, room)
            - bonus * FEWEST
        )
        reached = fractional_knapsack(self.sizes, weights, room) >= low[:, None] * (1 - 1e-9) - 1e-6
        return np.where((room >= 0) & reached, self.value + filled, -np.inf)

    def _ratios(self, best: Floats, grid: Floats) -> Floats:
        """Compare values [intervals, grid] with the prices of so many new faults [intervals]."""
        faults = np.ceil(np.maximum(grid, 0.0) - 1e-6).astype(np.int64)
        prices = self.table[self.count + faults]
        with np.errstate(divide="ignore", invalid="ignore"):
            between, last = best[:, 1:] / prices[:-1], best[:, -1:] / prices[-1]
        ratios = np.concatenate([between, last], axis=1)
        finite = np.nan_to_num(ratios, nan=np.inf, posinf=np.inf, neginf=-np.inf)
        highest: Floats = finite.max(axis=1) * (1 + 1e-9)
        return highest

    def _most(self, high: Floats) -> Floats:
        """Bound the value by S <= high alone, and by the chips that may join [intervals]."""
        free = float(self.values[self.sizes <= 0].sum())
        sized = np.flatnonzero(self.sizes > 0)
        most = float(np.sort(self.values)[-self.room :].sum())
        if not len(sized):
            return np.full_like(high, most)
        values = np.broadcast_to(self.values[sized], (1, len(sized)))
        within = fractional_knapsack(
            values, self.sizes[None, sized], high[None] * (1 + 1e-9) + 1e-6
        )[0]
        bounded: Floats = np.minimum(free + within, most)
        return bounded

    def _weights(
        self, high: Floats, loss: _OverlapLoss, turn: BoundSettings
    ) -> tuple[Floats, Floats]:
        """Return weights h [intervals, candidates] and constants [intervals].

        A weight is at least size and share of its candidate, times `lightest` and 2 / (k + 1).
        """
        sizes, k = self.sizes, np.maximum(loss.k + turn.step, 1)
        factor = 2 / (k + 1)
        weights = factor[:, None] * (sizes - loss.lost / k[:, None]) + self.shares
        constants = factor * loss.constants / k
        missing = (turn.lightest * factor)[:, None] * (sizes + self.shares) - weights
        more_each = np.divide(missing, sizes, out=np.zeros_like(missing), where=sizes > 0)
        more = np.maximum(more_each.max(axis=1), 0.0)
        return weights + more[:, None] * sizes, constants - more * high


def fractional_knapsack(values: Floats, weights: Floats, rooms: Floats) -> Floats:
    """Fill knapsacks, parts of things allowed: the value [intervals, rooms] that fits in each room.

    Args:
        values: Values [candidates] or [intervals, candidates].
        weights: Weights above 0 [intervals, candidates].
        rooms: Capacities [intervals, rooms]; below 0 counts as 0.
    """
    values = np.broadcast_to(values, weights.shape)
    order = np.argsort(-values / weights, axis=1)
    reached = np.cumsum(np.take_along_axis(values, order, axis=1), axis=1)
    used = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    return interpolate(rooms, used, reached)
