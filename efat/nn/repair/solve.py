"""Compensation of pruned weights by surviving ones: one ridge regression per set of survivors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from efat.errors import EfatError

RIDGE = 1e-3
"""The ridge towards the baseline weights, as a multiple of the mean of the Gram diagonal."""


class RidgeSystem:
    """`(G_SS + d I)^-1` for many sets `S` of surviving weights.

    If fewer weights are pruned (`P`) than survive, it is computed from the inverse `H` of the whole
    matrix, computed once, and a Cholesky factor of `H_PP`: `(A_SS)^-1 = H_SS - H_SP H_PP^-1 H_PS`
    (block inverse, as in optimal brain surgeon: Hassibi & Stork, 1993). Otherwise it is computed
    from a factor of `A_SS`.

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
        """`H`, [g, k, k], row-major: selecting rows of LAPACK's column-major result is slow."""
        return torch.cholesky_inverse(torch.linalg.cholesky(self.matrix)).mT

    def solve(self, keep: Tensor, right: Tensor, groups: Tensor) -> Tensor:
        """Return `(G_SS + d I)^-1 B_S` for chosen groups, 0 outside `S`.

        Args:
            keep: bool [k]: `S`.
            right: `B`, float64 [len(groups), k, m]; values at pruned weights are ignored.
            groups: Indices of the groups, ascending.
        """
        keep_at, prune_at = keep.nonzero().flatten(), (~keep).nonzero().flatten()
        if len(prune_at) >= len(keep_at):
            part = _submatrix(_select(self.matrix, groups), keep_at)
            solved = torch.zeros_like(right)
            solved[:, keep_at] = torch.cholesky_solve(
                right[:, keep_at], torch.linalg.cholesky(part)
            )
            return solved
        inverse = _select(self.inverse, groups)
        solved = inverse @ (right * keep[:, None])
        if len(prune_at):
            rows = inverse.index_select(1, prune_at)
            factor = torch.linalg.cholesky(rows.index_select(2, prune_at))
            solved -= rows.mT @ torch.cholesky_solve(solved[:, prune_at], factor)
        return solved * keep[:, None]

    def solve_compensation(self, keep: Tensor, pruned: Tensor, groups: Tensor) -> Tensor:
        """Return the update that compensates pruned weights, `(G_SS + d I)^-1 G_SP w_P`.

        If fewer weights are pruned than survive, it is `-H_SP H_PP^-1 w_P`, which needs no product
        with the whole of `G` or `H`.

        Args:
            keep: bool [k]: `S`.
            pruned: `w`, float64 [len(groups), k, m], 0 in `S`.
            groups: Indices of the groups, ascending.
        """
        prune_at = (~keep).nonzero().flatten()
        removed = pruned[:, prune_at]
        if 2 * len(prune_at) < len(keep):
            return self._pruned_shares(prune_at, removed, groups)[1] * -keep[:, None].to(removed)
        products = _select(self.matrix, groups).index_select(2, prune_at) @ removed
        return self.solve(keep, products, groups)

    def _pruned_shares(
        self, prune_at: Tensor, removed: Tensor, groups: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return `H_PP^-1 w_P`, and `H_:P` times it: `w_P` at `P`, less the update at `S`."""
        rows = _select(self.inverse, groups).index_select(1, prune_at)
        factor = torch.linalg.cholesky(rows.index_select(2, prune_at))
        shares = torch.cholesky_solve(removed, factor)
        return shares, rows.mT @ shares

    def remaining_errors(self, weights: Tensor, keep: Tensor, groups: Tensor) -> Tensor:
        """Return the error `D' G D` of each channel after compensation with this mask.

        Args:
            weights: float64 [len(groups), k, m].
            keep: bool [k].
            groups: Indices of the groups, ascending.

        Returns:
            [len(groups), m]. `D` is the update at `S` and `-w` at `P`.
        """
        prune_at, dampings = (~keep).nonzero().flatten(), self.dampings[groups, None]
        removed = weights[:, prune_at]
        if 2 * len(prune_at) < len(keep):
            shares, differences = self._pruned_shares(prune_at, removed, groups)
            errors = (removed * shares).sum(1) - dampings * differences.square().sum(1)
        else:
            products = _select(self.matrix, groups).index_select(2, prune_at) @ removed
            # `products` is (G + d I) w_P.
            update = self.solve(keep, products, groups)
            errors = (removed * products[:, prune_at]).sum(1) - dampings * removed.square().sum(1)
            errors -= (update * products).sum(1) + dampings * update.square().sum(1)
        return errors.clamp(min=0)


def _select(matrices: Tensor, groups: Tensor) -> Tensor:
    """Return the matrices of chosen groups, ascending; no copy where those are all."""
    return matrices if len(groups) == len(matrices) else matrices[groups]


def unique_masks(surviving: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different columns of bool [g, k, m], as [sets, k], and their indices, [g, m]."""
    groups, k, m = surviving.shape
    columns = surviving.transpose(0, 1).reshape(k, groups * m)
    masks, index = torch.unique(columns, dim=1, return_inverse=True)
    return masks.T, index.reshape(groups, m)


def _submatrix(matrix: Tensor, at: Tensor) -> Tensor:
    """Return the rows and columns `at` of [g, k, k]."""
    return matrix.index_select(1, at).index_select(2, at)


def solve_updates(gram: Tensor, errors: Tensor, surviving: Tensor, ridge: float = RIDGE) -> Tensor:
    """Return the update of the surviving weights, `(G_SS + d I)^-1 E_S`.

    `E` is the covariance (or second moment) of the inputs with the masked layer's output error. If
    the inputs are the fault-free ones, `E` is `G_SP w_P` (see `solve_compensation`), and the result
    is the update of `w_S = (G_SS + d I)^-1 (G_S: w + d w_S)`. Channels with the same `S` share one
    Cholesky factor. Without an error the update is exactly 0.

    Args:
        gram: `G`, float64 [g, k, k].
        errors: `E`, float64 [g, k, m].
        surviving: `S` of each channel, bool [g, k, m].
        ridge: See `RidgeSystem`.

    Returns:
        float64 [g, k, m], 0 at pruned weights.
    """
    return _solve_by_mask(surviving, errors * surviving, RidgeSystem(gram, ridge).solve)


def solve_compensation(
    gram: Tensor, pruned: Tensor, surviving: Tensor, ridge: float = RIDGE
) -> Tensor:
    """Return the update of the surviving weights if the inputs are the fault-free ones.

    Args:
        gram: `G`, float64 [g, k, k].
        pruned: The pruned weights, float64 [g, k, m]; 0 where they survive.
        surviving: `S` of each channel, bool [g, k, m].
        ridge: See `RidgeSystem`.

    Returns:
        `solve_updates` of the errors `G_SP w_P`, computed faster.
    """
    return _solve_by_mask(surviving, pruned, RidgeSystem(gram, ridge).solve_compensation)


def _solve_by_mask(
    surviving: Tensor, given: Tensor, solve: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    """Solve once per mask, for all channels with the same surviving weights; [g, k, m]."""
    updates = torch.zeros_like(given)
    masks, mask_index = unique_masks(surviving)
    for index, keep in enumerate(masks):
        same = mask_index == index
        groups, channels = same.any(1).nonzero().flatten(), same.any(0).nonzero().flatten()
        part = given[groups[:, None], :, channels].transpose(1, 2)
        part = part * same[groups[:, None], channels][:, None, :]
        if part.count_nonzero():
            solved = solve(keep, part, groups)
            updates[groups[:, None], :, channels] += solved.transpose(1, 2)
    return updates
