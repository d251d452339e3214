"""The costs that `remap` minimises: the error of each channel on each column of the array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from efat.nn.repair.gram import Gram
from efat.nn.repair.solve import RidgeSystem, unique_masks


class RemapCosts(Protocol):
    """The cost of the weights that do not survive."""

    @property
    def importance(self) -> Tensor:
        """The cost of pruning each weight by itself, [g, k, m]."""

    def of_columns(self, surviving: Tensor) -> Tensor:
        """Return the cost of each channel on each column, [g, m, cols].

        Args:
            surviving: The `k` that survive on a column, bool [g, k, cols]; `g` may be 1.
        """


@dataclass(frozen=True)
class CompensatedCosts:
    """The error after compensation on the calibration inputs, times each channel's gain.

    Args:
        weights: float64 [g, k, m].
        gram: Moments of the inputs; the errors of its blocks are added up.
        centred: Whether the layer can absorb a shift of its outputs.
        gains: Of each channel, [g, m].
        ridge: See `RidgeSystem`.
    """

    weights: Tensor
    gram: Gram
    centred: bool
    gains: Tensor
    ridge: float

    @property
    def importance(self) -> Tensor:
        """The error without a weight for uncorrelated inputs: separable over `k`."""
        blocks = self.gram.blocks(self.centred)
        inputs = torch.cat([matrix.diagonal(dim1=1, dim2=2) for _, matrix in blocks], dim=1)
        return self.weights.square() * inputs[:, :, None] * self.gains[:, None, :]

    def of_columns(self, surviving: Tensor) -> Tensor:
        """Compute one Cholesky factor per set of surviving weights."""
        groups, _, m = self.weights.shape
        errors = self.weights.new_zeros(groups, surviving.shape[2], m)
        for cut, matrix in self.gram.blocks(self.centred):
            errors += _remaining_errors(
                RidgeSystem(matrix, self.ridge), self.weights[:, cut], surviving[:, cut]
            )
        return errors.transpose(1, 2) * self.gains[:, :, None]


def _remaining_errors(system: RidgeSystem, weights: Tensor, surviving: Tensor) -> Tensor:
    """Return the error of each channel on each column, [g, cols, m]."""
    groups, _, m = weights.shape
    masks, mask_index = unique_masks(surviving)
    mask_index = mask_index.expand(groups, -1)
    errors = weights.new_empty(groups, mask_index.shape[1], m)
    for index, survives in enumerate(masks):
        same = mask_index == index
        having = same.any(1).nonzero().flatten()
        remaining = system.remaining_errors(weights[having], survives, having)
        group, column = same.nonzero(as_tuple=True)
        errors[group, column] = remaining[torch.searchsorted(having, group)]
    return errors


@dataclass(frozen=True)
class PrunedCosts:
    """The saliency of the pruned weights.

    Args:
        importance: Saliency of each weight, [g, k, m].
    """

    importance: Tensor

    def of_columns(self, surviving: Tensor) -> Tensor:
        """Add up the importance of the weights that do not survive."""
        return self.importance.transpose(1, 2) @ (~surviving).to(self.importance)
