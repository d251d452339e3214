r"""Bound how many faults a chip can share with those that join it: one knapsack per chip.

Let an extension A have sizes that sum to at most b, and its pairs the overlaps `o_ij`. Each overlap
is divided among the two chips of the pair: i bears the share `q_ij`, j the rest, `q_ij + q_ji = 1`.
What chip i bears is at most what the relaxed knapsack of the others gives,

    R_i(b) = max  sum_j q_ij o_ij y_j,   sum_j s_j y_j <= b - s_i,   0 <= y_j <= 1,

so that the overlaps of all pairs of A sum to at most `sum over i in A of R_i(b)`, for any shares.
(The bound of the quadratic knapsack of Caprara, Pisinger & Toth 1999, by their
multipliers.) Good shares put the burden on chips that many others would choose, and little of it on
chips that would not be chosen; a few steps along the subgradient improve them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efat.planning.cost import Floats, Ints

STEPS, STRIDE = 60, 0.25
"""Steps along the subgradient, and the first one's largest change of a share."""


@dataclass(frozen=True)
class OverlapShares:
    """For each candidate its partners, best first, and the overlaps that it bears with them.

    Args:
        sizes: Sizes s [candidates].
        unsized: Faults borne for partners without size [candidates].
        used: Sizes of each candidate's partners, best first, summed up [candidates, candidates].
        borne: Faults borne with them, summed up [candidates, candidates].
        order: The partners, best first [candidates, candidates].
    """

    sizes: Floats
    unsized: Floats
    used: Floats
    borne: Floats
    order: Ints

    @classmethod
    def of(cls, sizes: Floats, overlaps: Floats, shares: Floats) -> OverlapShares:
        """Sort the partners of each candidate.

        Args:
            sizes: Sizes [candidates].
            overlaps: Overlaps [candidates, candidates]; the diagonal is ignored.
            shares: Shares q [candidates, candidates], in [0, 1]; opposite ones sum to 1.
        """
        borne = shares * overlaps
        np.fill_diagonal(borne, 0.0)
        unsized = borne[:, sizes <= 0].sum(axis=1)
        per_size = np.divide(borne, sizes, out=np.zeros_like(borne), where=sizes > 0)
        order = np.argsort(-per_size, axis=1)
        taken = np.where(sizes > 0, borne, 0.0)
        used = np.cumsum(sizes[order], axis=1)
        return cls(sizes, unsized, used, np.cumsum(np.take_along_axis(taken, order, 1), 1), order)

    def most(self, sums: Floats) -> Floats:
        """Return R_i(b) [sums, candidates] for each b of `sums`."""
        rooms = np.maximum(sums[:, None] - self.sizes, 0.0)
        borne = interpolate(rooms.T, self.used, self.borne).T
        # no partner bears more than its size, so this is above the rounding of `interpolate`
        rounding = 8 * np.spacing((float(self.sizes.sum()) + 1) * len(self.sizes))
        most: Floats = self.unsized + borne + rounding
        return most

    def chosen(self, most: float) -> Floats:
        """Return the part of each partner that fits within the sum `most` [candidates, same]."""
        room = np.maximum(most - self.sizes, 0.0)[:, None]
        ordered = np.diff(self.used, axis=1, prepend=0.0)
        over = (room - self.used + ordered) / np.maximum(ordered, 1e-12)
        parts = np.zeros_like(self.used)
        np.put_along_axis(parts, self.order, np.clip(over, 0.0, 1.0), axis=1)
        return parts


def split_overlaps(
    sizes: Floats, overlaps: Floats, values: Floats, faults: float, most: float
) -> Floats:
    """Choose shares q [chips, chips] that bound the value of groups of a given size well.

    Any shares are valid; the search lowers the largest value, by Dawson & Sankoff.

    Args:
        sizes: Sizes [chips].
        overlaps: Overlaps [chips, chips].
        values: Values [chips].
        faults: Faults of these groups.
        most: Sum of their sizes.
    """
    tilt = np.zeros_like(overlaps)
    best: tuple[float, Floats] = (np.inf, np.full_like(overlaps, 0.5))
    for step in range(STEPS):
        shares = 0.5 + 0.5 * tilt
        partners = OverlapShares.of(sizes, overlaps, shares)
        borne = partners.most(np.array([most]))[0]
        k = 1 + np.floor(2 * borne.sum() / max(sizes.sum(), 1e-9))
        weights = np.maximum(2 / (k + 1) * (sizes - borne / k), 0.05 * sizes)
        taken = taken_parts(values, weights, faults)
        value = float((values * taken).sum())
        if value < best[0]:
            best = value, shares
        wanted = taken[:, None] * partners.chosen(most)
        uneven = wanted - wanted.T
        tilt = np.clip(tilt - STRIDE / (1 + step / 10) * uneven, -1.0, 1.0)
    return best[1]


def fractional_knapsack(values: Floats, weights: Floats, rooms: Floats) -> Floats:
    """Fill knapsacks, parts of items allowed: the value [intervals, rooms] that fits in each.

    Args:
        values: Values [candidates] or [intervals, candidates].
        weights: Weights above 0 [intervals, candidates].
        rooms: Capacities [intervals, rooms]; below 0 counts as 0.
    """
    values = np.broadcast_to(values, weights.shape)
    order, used = _best_first(values, weights)
    return interpolate(rooms, used, np.cumsum(np.take_along_axis(values, order, axis=1), axis=1))


def taken_parts(values: Floats, weights: Floats, room: float) -> Floats:
    """Fill one knapsack in the same way: the part of each item that is taken [candidates]."""
    positive = np.maximum(weights, 1e-12)
    order, used = _best_first(values, positive)
    taken = np.zeros_like(values)
    taken[order] = np.clip((room - used + positive[order]) / positive[order], 0.0, 1.0)
    return taken


def _best_first(values: Floats, weights: Floats) -> tuple[Ints, Floats]:
    """Sort items [..., candidates] by value per weight, and sum up their weights in this order."""
    order = np.argsort(-values / weights, axis=-1)
    return order, np.cumsum(np.take_along_axis(weights, order, axis=-1), axis=-1)


def interpolate(at: Floats, x: Floats, y: Floats) -> Floats:
    """Interpolate each row of y over the same row of x, from (0, 0); flat beyond the end.

    Rows are laid end to end, so that one call serves all.
    """
    width = max(float(x.max()), float(at.max())) + 1
    shift = width * np.arange(len(x))[:, None]
    zero = np.zeros((len(x), 1))
    last = np.full((len(x), 1), width * (1 - 1e-12))
    xs = np.concatenate([zero, x, last], axis=1) + shift
    ys = np.concatenate([zero, y, y[:, -1:]], axis=1)
    values: Floats = np.interp((np.maximum(at, 0.0) + shift).ravel(), xs.ravel(), ys.ravel())
    return values.reshape(at.shape)
