r"""Bound how much any group of one branch of the proof can be overcharged.

Let `c(G) = f(|F_G|)`, f non-decreasing, and let a branch have chosen chips with fused map U, t
faults and value v. Its candidates bring the gains `F_j \ U`. PEs fall into two classes.

*Shared* PEs are faulty on many chips (systematic faults). One that is faulty on d candidates is
covered once, however many of those are chosen, so it counts for at least 1/d with each:
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
partners bounds S2 better (`efat.planning.bounds.partners`); both are tried. Sums S that the
candidates cannot reach within the remaining faults are ruled out. As S <= b, adding `m (S - b)`
with m >= 0 keeps it a bound; so weights are kept away from 0, where a candidate would count for
nothing. The largest value of a given weight is a knapsack problem, bounded by its linear relaxation
(Dantzig 1957); the ratio of value to price is at most the largest over the weights and the
intervals of S. Every step is an inequality: nothing rests on independent maps, and no extension is
left out, however many chips it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efat.planning.bounds.partners import OverlapShares, fractional_knapsack
from efat.planning.cost import Floats, Ints

FEWEST = 3
"""Fewest chips of an extension; smaller ones are priced one by one."""
SUM_INTERVALS = 20
"""Intervals of S; they are narrower where S is small."""
SUMS_TRIED = 200
"""Values of S tested for whether anything fits."""
SUMS_REACHED = 40
"""Values of S tested for whether chips that share little reach them."""
WEIGHT_POINTS = 96
"""Weights at which value and price are compared; they are closer where they are small."""


@dataclass(frozen=True)
class BoundSettings:
    """Parameters of one bound; any choice is valid.

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
"""Settings that are tried one after the other, as long as a better bound matters."""
REFINE_SHARE = 0.97
"""Share of the worst ratio from which an interval is bounded again with other settings."""


@dataclass(frozen=True)
class Spectrum:
    """The part of the overlaps that independent maps would not have.

    Args:
        largest: Bound L on the quadratic form, at least 0.
        excess_weights: Weight of each candidate in the eigenvectors of the largest eigenvalues,
            each times its eigenvalue [candidates]: large for candidates that make L large.
    """

    largest: float
    excess_weights: Floats

    @classmethod
    def of(cls, sizes: Floats, shared: Floats, area: float) -> Spectrum:
        """Build it from sizes s [maps] and overlaps o [maps, maps], for any area N above 0."""
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
class _OverlapBound:
    """A bound on the overlaps: pairs of A share at most `sum(per_candidate) - constants` faults.

    Args:
        per_candidate: Faults that each candidate adds [intervals, candidates].
        constants: Faults to subtract again [intervals].
        k: The k of Dawson & Sankoff that fits best [intervals].
    """

    per_candidate: Floats
    constants: Floats
    k: Floats

    @classmethod
    def between(
        cls, per_candidate: Floats, constants: Floats, sizes: Floats, sums: Floats
    ) -> _OverlapBound:
        """Choose k as if all candidates joined alike, their sizes summing to `sums` [intervals]."""
        each = per_candidate.sum(axis=1) / max(float(sizes.sum()), 1e-9) - constants / np.maximum(
            sums, 1e-9
        )
        return cls(per_candidate, constants, 1 + np.floor(2 * np.maximum(each, 0.0)))

    def of(self, intervals: Ints) -> _OverlapBound:
        return _OverlapBound(
            self.per_candidate[intervals], self.constants[intervals], self.k[intervals]
        )


@dataclass(frozen=True)
class Branch:
    """A branch of the proof: the chosen chips, and the candidates that may still join.

    Args:
        value: Value v of the chosen chips.
        count: Faults t of their fused map.
        values: Values u of the candidates [candidates].
        gains: New faults that each would bring, at least 1 [candidates].
        sizes: Gains s without shared PEs [candidates].
        shares: Shares w [candidates]; no gain is below size and share together.
        largest: Bound L on the overlaps of sizes beyond those of independent maps.
        area: Area N, above 0.
        room: Chips that may still join.
        table: Price f for each number of faults.
        limit: Largest number of faults with a finite price.
        partners: How much each candidate can share with others, for several divisions.
    """

    value: float
    count: int
    values: Floats
    gains: Floats
    sizes: Floats
    shares: Floats
    largest: float
    area: float
    room: int
    table: Floats
    limit: int
    partners: tuple[OverlapShares, ...] = ()

    def ratio(self, enough: float = 0.0) -> float:
        """Bound `u(G) / f(|F_G|)` over the groups with at least `FEWEST` more chips; may be -inf.

        It is inf where the price of a group cannot be kept away from 0. A bound of at most
        `enough` is not improved further.
        """
        if min(self.room, len(self.values)) < FEWEST:
            return -np.inf
        edges = self._edges()
        low, high = edges[:-1], edges[1:]
        fewest = np.minimum(np.sort(self.gains)[FEWEST - 1], self.spare)
        grid = fewest + (self.spare - fewest) * np.linspace(0.0, 1.0, WEIGHT_POINTS + 1) ** 2
        best = np.tile(self.value + self._highest_values(high)[:, None], len(grid))
        overlap_bounds, worst = self._overlap_bounds(low, high), self._ratios(best, grid)
        for setting in BOUND_SETTINGS:
            for bound in overlap_bounds:
                if worst.max() <= enough:
                    return float(worst.max())
                near = REFINE_SHARE * worst.max() if setting is not BOUND_SETTINGS[0] else -np.inf
                again = np.flatnonzero(worst >= near)
                values = self._values(low[again], high[again], grid, bound.of(again), setting)
                best[again] = np.minimum(best[again], values)
                worst[again] = self._ratios(best[again], grid)
        return float(worst.max())

    def _edges(self) -> Floats:
        """Cut the range of S into intervals, up to where nothing fits any more."""
        ordered = np.sort(self.sizes)
        least, most = float(ordered[:FEWEST].sum()), float(ordered[-self.room :].sum())
        tried = np.linspace(least, most, SUMS_TRIED + 1)
        k = np.arange(1, 2 + int(most / self.area + self.largest))[:, None]
        covered = 2 / (k + 1) * (tried - (tried**2 / self.area + self.largest * tried) / (2 * k))
        below = np.minimum(covered[:, :-1], covered[:, 1:]).max(axis=0)  # concave between the two
        fits = np.flatnonzero(below <= self.spare + 1e-6)
        end = float(tried[fits[-1] + 1]) if len(fits) else least
        if self.partners:
            end = self._reached(least, end)
        edges: Floats = least + (end - least) * np.linspace(0.0, 1.0, SUM_INTERVALS + 1) ** 2
        return edges

    def _reached(self, least: float, end: float) -> float:
        """Lower the end of S to what candidates reach within the remaining faults."""
        tried = np.linspace(least, end, SUMS_REACHED + 1)
        low, high = tried[:-1], tried[1:]
        fits = np.ones(len(low), dtype=bool)
        for bound in self._overlap_bounds(low, high):
            weights, constants = self._weights(high, bound, BOUND_SETTINGS[0])
            room = np.full((len(low), 1), self.spare + 1e-6) - constants[:, None]
            fits &= fractional_knapsack(self.sizes, weights, room)[:, 0] >= low * (1 - 1e-9) - 1e-6
        reached = np.flatnonzero(fits)
        return float(high[reached[-1]]) if len(reached) else least

    @property
    def spare(self) -> int:
        """New faults that still fit."""
        return self.limit - self.count

    def _overlap_bounds(self, low: Floats, high: Floats) -> list[_OverlapBound]:
        """Bound the overlaps of all pairs where S is in [low, high], in each known way."""
        chord = ((low + high)[:, None] * self.sizes - self.sizes**2) / self.area
        spectral = (chord + self.largest * self.sizes) / 2
        ways = [(spectral, low * high / (2 * self.area))]
        ways += [(partners.most(high), np.zeros_like(low)) for partners in self.partners]
        middle = (low + high) / 2
        return [_OverlapBound.between(*way, self.sizes, middle) for way in ways]

    def _values(
        self,
        low: Floats,
        high: Floats,
        grid: Floats,
        overlaps: _OverlapBound,
        setting: BoundSettings,
    ) -> Floats:
        """Bound the value where S is in [low, high] and the new faults are at most `grid`.

        It is -inf where nothing fits. A candidate that leaves too little of S to the others cannot
        join. A bonus for each chip, subtracted again for the `FEWEST`, makes the knapsack prefer
        many small chips to few large ones (a Lagrange multiplier).

        Returns:
            Bounds [intervals, grid].
        """
        weights, constants = self._weights(high, overlaps, setting)
        bonus, others = setting.bonus * float(self.values.max()), np.sort(self.sizes)[: FEWEST - 1]
        fits = self.sizes <= high[:, None] - others.sum() + 1e-6
        room = grid + 1e-6 - constants[:, None]
        filled = (
            fractional_knapsack(np.where(fits, self.values + bonus, 0.0), weights, room)
            - bonus * FEWEST
        )
        reached = fractional_knapsack(self.sizes, weights, room) >= low[:, None] * (1 - 1e-9) - 1e-6
        return np.where((room >= 0) & reached, self.value + filled, -np.inf)

    def _ratios(self, best: Floats, grid: Floats) -> Floats:
        """Return the largest ratio of values [intervals, grid] to prices [intervals]."""
        faults = np.ceil(np.maximum(grid, 0.0) - 1e-6).astype(np.int64)
        prices = self.table[self.count + faults]
        with np.errstate(divide="ignore", invalid="ignore"):
            between, last = best[:, 1:] / prices[:-1], best[:, -1:] / prices[-1]
        ratios = np.concatenate([between, last], axis=1)
        finite = np.nan_to_num(ratios, nan=np.inf, posinf=np.inf, neginf=-np.inf)
        highest: Floats = finite.max(axis=1) * (1 + 1e-9)
        return highest

    def _highest_values(self, high: Floats) -> Floats:
        """Bound the value by S <= high alone, and by the number of chips [intervals]."""
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
        self, high: Floats, overlaps: _OverlapBound, setting: BoundSettings
    ) -> tuple[Floats, Floats]:
        """Return weights h [intervals, candidates] and constants [intervals].

        A weight is at least size and share of its candidate, times `lightest` and 2 / (k + 1).
        """
        sizes, k = self.sizes, np.maximum(overlaps.k + setting.step, 1)
        factor = 2 / (k + 1)
        weights = factor[:, None] * (sizes - overlaps.per_candidate / k[:, None]) + self.shares
        constants = factor * overlaps.constants / k
        missing = (setting.lightest * factor)[:, None] * (sizes + self.shares) - weights
        more_each = np.divide(missing, sizes, out=np.zeros_like(missing), where=sizes > 0)
        more = np.maximum(more_each.max(axis=1), 0.0)
        return weights + more[:, None] * sizes, constants - more * high
