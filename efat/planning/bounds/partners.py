r"""How many faults a chip can share with those that join it: a knapsack for each chip.

Let an extension A have sizes that sum to at most b, and its pairs the overlaps `o_ij`. Each overlap
is divided among the two chips of the pair: i bears the share `q_ij`, j the rest, `q_ij + q_ji = 1`.
What chip i bears is at most what the relaxed knapsack of the others gives,

    R_i(b) = max  sum_j q_ij o_ij y_j,   sum_j s_j y_j <= b - s_i,   0 <= y_j <= 1,

so that the overlaps of all pairs of A sum to at most `sum over i in A of R_i(b)`, whatever the
shares are. (The bound of the quadratic knapsack of Caprara, Pisinger & Toth 1999, by their
multipliers.) Good shares let a chip that many would choose pay, and those bear little that would
not be chosen themselves; they are found by a few steps along the subgradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efat.planning.cost import Floats

STEPS, STRIDE = 60, 0.25
"""Steps along the subgradient, and the first one's largest change of a share."""


@dataclass(frozen=True)
class OverlapShares:
    """Whom each candidate would choose first, and what comes of it.

    Args:
        sizes: Sizes s [candidates].
        free: Faults borne of partners without size [candidates].
        used: Sizes of each candidate's partners, best first, summed up [candidates, candidates].
        borne: Faults borne with them, summed up [candidates, candidates].
        order: The partners, best first [candidates, candidates].
    """

    sizes: Floats
    free: Floats
    used: Floats
    borne: Floats
    order: np.ndarray[tuple[int, int], np.dtype[np.int64]]

    @classmethod
    def of(cls, sizes: Floats, overlaps: Floats, shares: Floats) -> OverlapShares:
        """Sort the partners of each candidate.

        Args:
            sizes: Sizes [candidates].
            overlaps: Overlaps [candidates, candidates]; the diagonal is not looked at.
            shares: Shares q [candidates, candidates], in [0, 1]; opposite ones sum to 1.
        """
        borne = shares * overlaps
        np.fill_diagonal(borne, 0.0)
        free = borne[:, sizes <= 0].sum(axis=1)
        per_size = np.divide(borne, sizes, out=np.zeros_like(borne), where=sizes > 0)
        order = np.argsort(-per_size, axis=1)
        taken = np.where(sizes > 0, borne, 0.0)
        used = np.cumsum(sizes[order], axis=1)
        return cls(sizes, free, used, np.cumsum(np.take_along_axis(taken, order, 1), 1), order)

    def most(self, sums: Floats) -> Floats:
        """Return R_i(b) [sums, candidates] for each b of `sums`."""
        rooms = np.maximum(sums[:, None] - self.sizes, 0.0)
        borne = interpolate(rooms.T, self.used, self.borne).T
        # no partner bears more than its size, so this is above the rounding of `interpolate`
        rounding = 8 * np.spacing((float(self.sizes.sum()) + 1) * len(self.sizes))
        most: Floats = self.free + borne + rounding
        return most

    def chosen(self, most: float) -> Floats:
        """Return which part of each partner fits where sizes sum to `most` [candidates, same]."""
        room = np.maximum(most - self.sizes, 0.0)[:, None]
        ordered = np.diff(self.used, axis=1, prepend=0.0)
        over = (room - self.used + ordered) / np.maximum(ordered, 1e-12)
        parts = np.zeros_like(self.used)
        np.put_along_axis(parts, self.order, np.clip(over, 0.0, 1.0), axis=1)
        return parts


def split_overlaps(
    sizes: Floats, overlaps: Floats, values: Floats, faults: float, most: float
) -> Floats:
    """Choose shares q [chips, chips] that bound the value of groups of some faults well.

    Any outcome is valid; what is sought is a small largest value, by Dawson & Sankoff.

    Args:
        sizes: Sizes [chips].
        overlaps: Overlaps [chips, chips].
        values: Values [chips].
        faults: Faults of the groups looked at.
        most: What their sizes sum to.
    """
    towards = np.zeros_like(overlaps)
    best: tuple[float, Floats] = (np.inf, np.full_like(overlaps, 0.5))
    for step in range(STEPS):
        shares = 0.5 + 0.5 * towards
        partners = OverlapShares.of(sizes, overlaps, shares)
        borne = partners.most(np.array([most]))[0]
        k = 1 + np.floor(2 * borne.sum() / max(sizes.sum(), 1e-9))
        weights = np.maximum(2 / (k + 1) * (sizes - borne / k), 0.05 * sizes)
        value, taken = fractional_knapsack(values, weights, faults)
        if value < best[0]:
            best = value, shares
        wanted = taken[:, None] * partners.chosen(most)
        uneven = wanted - wanted.T
        towards = np.clip(towards - STRIDE / (1 + step / 10) * uneven, -1.0, 1.0)
    return best[1]


def fractional_knapsack(values: Floats, weights: Floats, room: float) -> tuple[float, Floats]:
    """Fill a knapsack, parts allowed: the value, and how much of each is taken."""
    positive = np.maximum(weights, 1e-12)
    order = np.argsort(-values / positive)
    used = np.cumsum(positive[order])
    taken = np.zeros_like(values)
    taken[order] = np.clip((room - used + positive[order]) / positive[order], 0.0, 1.0)
    return float((values * taken).sum()), taken


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
    found: Floats = np.interp((np.maximum(at, 0.0) + shift).ravel(), xs.ravel(), ys.ravel())
    return found.reshape(at.shape)
