"""Surviving weights that make up for pruned ones: a ridge regression a column of the array."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from efat.errors import EfatError

RIDGE = 1e-3
"""Times the mean of the Gram matrix's diagonal: the pull towards the baseline weights."""


class RidgeSystem:
    """`(G_SS + d I)^-1` for many sets `S` of surviving weights.

    Where less is lost than kept, from the inverse `H` of the whole matrix, made once, and a
    Cholesky factor of `H_PP`, `P` the pruned weights: `(A_SS)^-1 = H_SS - H_SP H_PP^-1 H_PS` (block
    inverse; the optimal brain surgeon's, Hassibi & Stork, 1993). Else from a factor of `A_SS`.

    Args:
        gram: `G`, float64 [g, k, k].
        ridge: `d` over the mean of `G`'s diagonal, above 0.

    Raises:
        EfatError: A ridge that is not positive: `G_SS` alone need not be invertible.
    """

    def __init__(self, gram: Tensor, ridge: float = RIDGE) -> None:
        if not ridge > 0:
            raise EfatError(f"ridge: {ridge!r} given; a number > 0 is needed")
        scaled = ridge * gram.diagonal(dim1=1, dim2=2).mean(dim=1)
        self.dampings = torch.where(scaled > 0, scaled, 1.0)
        """`d` of each group, [g]; 1 where all inputs are 0, so that no update is needed."""
        self.matrix = gram.clone()
        self.matrix.diagonal(dim1=1, dim2=2).add_(self.dampings[:, None])

    @cached_property
    def inverse(self) -> Tensor:
        """`H`, [g, k, k], row by row in memory: rows of what LAPACK leaves are dear to select."""
        return torch.cholesky_inverse(torch.linalg.cholesky(self.matrix)).mT

    def solve(self, kept: Tensor, right: Tensor, groups: Tensor) -> Tensor:
        """Return `(G_SS + d I)^-1 B_S` for chosen groups, 0 at what is not in `S`.

        Args:
            kept: bool [k]: `S`.
            right: `B`, float64 [len(groups), k, m]; what it holds at pruned weights is ignored.
            groups: Which groups.
        """
        kept_at, lost_at = kept.nonzero().flatten(), (~kept).nonzero().flatten()
        if len(lost_at) >= len(kept_at):
            part = _part(_of(self.matrix, groups), kept_at)
            solved = torch.zeros_like(right)
            solved[:, kept_at] = torch.cholesky_solve(
                right[:, kept_at], torch.linalg.cholesky(part)
            )
            return solved
        inverse = _of(self.inverse, groups)
        solved = inverse @ (right * kept[:, None])
        if len(lost_at):
            rows = inverse.index_select(1, lost_at)
            factor = torch.linalg.cholesky(rows.index_select(2, lost_at))
            solved -= rows.mT @ torch.cholesky_solve(solved[:, lost_at], factor)
        return solved * kept[:, None]

    def solve_compensation(self, kept: Tensor, pruned: Tensor, groups: Tensor) -> Tensor:
        """Return the update that makes up for pruned weights, `(G_SS + d I)^-1 G_SP w_P`.

        Where less is lost than kept it is `-H_SP H_PP^-1 w_P`, for which no product with the whole
        of `G` or `H` is needed.

        Args:
            kept: bool [k]: `S`.
            pruned: `w`, float64 [len(groups), k, m], 0 at what is in `S`.
            groups: Which groups.
        """
        lost_at = (~kept).nonzero().flatten()
        lost = pruned[:, lost_at]
        if 2 * len(lost_at) < len(kept):
            return self._spread(lost_at, lost, groups)[1] * -kept[:, None].to(lost)
        products = _of(self.matrix, groups).index_select(2, lost_at) @ lost
        return self.solve(kept, products, groups)

    def _spread(self, lost_at: Tensor, lost: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Return `H_PP^-1 w_P`, and `H_:P` times it: `w_P` at `P`, less the update at `S`."""
        rows = _of(self.inverse, groups).index_select(1, lost_at)
        factor = torch.linalg.cholesky(rows.index_select(2, lost_at))
        shares = torch.cholesky_solve(lost, factor)
        return shares, rows.mT @ shares

    def errors_left(self, weights: Tensor, kept: Tensor, groups: Tensor) -> Tensor:
        """Return `D' G D` of each channel after its update, were it on a column with these faults.

        Args:
            weights: float64 [len(groups), k, m].
            kept: bool [k].
            groups: Which groups.

        Returns:
            [len(groups), m]. `D` is the update at `S` and `-w` at `P`.
        """
        lost_at, dampings = (~kept).nonzero().flatten(), self.dampings[groups, None]
        lost = weights[:, lost_at]
        if 2 * len(lost_at) < len(kept):
            shares, differences = self._spread(lost_at, lost, groups)
            left = (lost * shares).sum(1) - dampings * differences.square().sum(1)
        else:
            products = _of(self.matrix, groups).index_select(2, lost_at) @ lost  # (G + d I) w_P
            update = self.solve(kept, products, groups)
            left = (lost * products[:, lost_at]).sum(1) - dampings * lost.square().sum(1)
            left -= (update * products).sum(1) + dampings * update.square().sum(1)
        return left.clamp(min=0)


def _of(matrices: Tensor, groups: Tensor) -> Tensor:
    """Return the matrices of chosen groups, ascending; no copy where those are all."""
    return matrices if len(groups) == len(matrices) else matrices[groups]


def distinct(surviving: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sets among bool [g, k, m], as rows [sets, k], and which each one is, [g, m]."""
    groups, k, m = surviving.shape
    columns = surviving.transpose(0, 1).reshape(k, groups * m)
    sets, which = torch.unique(columns, dim=1, return_inverse=True)
    return sets.T, which.reshape(groups, m)


def _part(matrix: Tensor, at: Tensor) -> Tensor:
    """Return the rows and columns `at` of [g, k, k]."""
    return matrix.index_select(1, at).index_select(2, at)


def solve_updates(gram: Tensor, errors: Tensor, surviving: Tensor, ridge: float = RIDGE) -> Tensor:
    """Return what to add to the surviving weights, `(G_SS + d I)^-1 E_S`.

    `E` is the covariance (or second moment) of inputs with what the masked layer's output lacks;
    where its inputs are the fault-free ones that is `G_SP w_P` (see `solve_compensation`), and the
    result is the update of `w_S = (G_SS + d I)^-1 (G_S: w + d w_S)`. Channels with the same `S`
    share one Cholesky factor. Where there is no error there is no update, to the bit.

    Args:
        gram: `G`, float64 [g, k, k].
        errors: `E`, float64 [g, k, m].
        surviving: `S` of each channel, bool [g, k, m].
        ridge: See `RidgeSystem`.

    Returns:
        float64 [g, k, m], 0 at pruned weights.
    """
    return _group_by_mask(surviving, errors * surviving, RidgeSystem(gram, ridge).solve)


def solve_compensation(
    gram: Tensor, pruned: Tensor, surviving: Tensor, ridge: float = RIDGE
) -> Tensor:
    """Return what to add to the surviving weights where inputs are the fault-free ones.

    Args:
        gram: `G`, float64 [g, k, k].
        pruned: The weights that are pruned, float64 [g, k, m]; 0 where they survive.
        surviving: `S` of each channel, bool [g, k, m].
        ridge: See `RidgeSystem`.

    Returns:
        `solve_updates` of the errors `G_SP w_P`, for less.
    """
    return _group_by_mask(surviving, pruned, RidgeSystem(gram, ridge).solve_compensation)


def _group_by_mask(
    surviving: Tensor, given: Tensor, solve: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    """Solve once for all channels with the same surviving weights, [g, k, m]."""
    updates = torch.zeros_like(given)
    sets, which = distinct(surviving)
    for index, kept in enumerate(sets):
        here = which == index
        groups, channels = here.any(1).nonzero().flatten(), here.any(0).nonzero().flatten()
        part = given[groups[:, None], :, channels].transpose(1, 2)
        part = part * here[groups[:, None], channels][:, None, :]
        if part.count_nonzero():
            solved = solve(kept, part, groups)
            updates[groups[:, None], :, channels] += solved.transpose(1, 2)
    return updates
