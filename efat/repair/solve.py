"""Surviving weights that make up for pruned ones: a ridge regression a column of the array."""

from __future__ import annotations

import torch
from torch import Tensor

from efat.errors import EfatError

RIDGE = 1e-3
"""Times the mean of the Gram matrix's diagonal: the pull towards the baseline weights."""


def solve_updates(
    gram: Tensor, errors: Tensor, surviving: Tensor, columns: Tensor, ridge: float = RIDGE
) -> Tensor:
    """Return what to add to the surviving weights, `(G_SS + d I)^-1 E_S`.

    `E` is the covariance (or second moment) of inputs with what the masked layer's output lacks;
    where its inputs are the fault-free ones that is `G_SP w_P`, and the result is the update of
    `w_S = (G_SS + d I)^-1 (G_S: w + d w_S)`. Channels on columns with the same faults share one
    Cholesky factor. Where there is no error there is no update, to the bit.

    Args:
        gram: `G`, float64 [g, k, k].
        errors: `E`, float64 [g, k, m].
        surviving: bool [k, cols].
        columns: Column of each channel, [g, m].
        ridge: `d` over the mean of `G`'s diagonal, above 0.

    Returns:
        float64 [g, k, m], 0 at pruned weights.
    """
    updates = torch.zeros_like(errors)
    sets, of_column = torch.unique(surviving, dim=1, return_inverse=True)
    chosen, dampings = of_column[columns], damping(gram, ridge)
    for index in chosen.unique().tolist():
        here, kept = chosen == index, sets[:, index].nonzero().flatten()
        groups = here.any(1).nonzero().flatten()
        channels = here.any(0).nonzero().flatten()
        part = errors[groups[:, None, None], kept[:, None], channels]
        part = part * here[groups[:, None], channels][:, None, :]
        if part.count_nonzero() == 0:
            continue
        factor = factorise(gram, kept, dampings, groups)
        places = (groups[:, None, None], kept[:, None], channels)
        updates[places] += torch.cholesky_solve(part, factor)
    return updates


def damping(gram: Tensor, ridge: float) -> Tensor:
    """Return `d` of each group, [g]; 1 where all inputs are 0, so that no update is needed.

    Raises:
        EfatError: A ridge that is not positive: with faults, `G_SS` alone need not be invertible.
    """
    if not ridge > 0:
        raise EfatError(f"ridge: {ridge!r} given; a number > 0 is needed")
    scaled = ridge * gram.diagonal(dim1=1, dim2=2).mean(dim=1)
    return torch.where(scaled > 0, scaled, 1.0)


def factorise(gram: Tensor, kept: Tensor, dampings: Tensor, groups: Tensor | None = None) -> Tensor:
    """Return the Cholesky factors of `G_SS + d I`, [groups, kept, kept]."""
    chosen = torch.arange(len(gram), device=gram.device) if groups is None else groups
    part = gram[chosen[:, None, None], kept[:, None], kept]
    eye = torch.eye(len(kept), dtype=gram.dtype, device=gram.device)
    factor: Tensor = torch.linalg.cholesky(part + dampings[chosen, None, None] * eye)
    return factor
