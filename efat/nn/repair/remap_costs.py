"""What a layer loses on a column, or with a single weight: what `remap` minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from efat.nn.repair.gram import Gram
from efat.nn.repair.solve import RidgeSystem, distinct


class RemapCosts(Protocol):
    """What is lost where weights do not survive."""

    @property
    def importance(self) -> Tensor:
        """What each weight is worth by itself, [g, k, m]."""

    def of_columns(self, surviving: Tensor) -> Tensor:
        """Return what each channel loses on each column, [g, m, cols].

        Args:
            surviving: Which `k` survive there, bool [g, k, cols]; one group may stand for all.
        """


@dataclass(frozen=True)
class CompensatedCosts:
    """The error that compensation leaves on the calibration inputs, times each channel's gain.

    Args:
        weights: float64 [g, k, m].
        gram: Moments of the inputs; where they are in blocks, the errors of blocks are added up.
        centred: Whether a shift can be folded away.
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
        """The error without a weight, inputs taken as uncorrelated: separable over `k`."""
        blocks = self.gram.blocks(self.centred)
        inputs = torch.cat([matrix.diagonal(dim1=1, dim2=2) for _, matrix in blocks], dim=1)
        return self.weights.square() * inputs[:, :, None] * self.gains[:, None, :]

    def of_columns(self, surviving: Tensor) -> Tensor:
        """One Cholesky factor for each set of surviving weights."""
        groups, _, m = self.weights.shape
        errors = self.weights.new_zeros(groups, surviving.shape[2], m)
        for cut, matrix in self.gram.blocks(self.centred):
            errors += _errors_left(
                RidgeSystem(matrix, self.ridge), self.weights[:, cut], surviving[:, cut]
            )
        return errors.transpose(1, 2) * self.gains[:, :, None]


def _errors_left(system: RidgeSystem, weights: Tensor, surviving: Tensor) -> Tensor:
    """Return what each channel loses on each column, [g, cols, m]."""
    groups, _, m = weights.shape
    sets, which = distinct(surviving)
    which = which.expand(groups, -1)
    errors = weights.new_empty(groups, which.shape[1], m)
    for index, kept in enumerate(sets):
        here = which == index
        having = here.any(1).nonzero().flatten()
        left = system.errors_left(weights[having], kept, having)
        group, column = here.nonzero(as_tuple=True)
        errors[group, column] = left[torch.searchsorted(having, group)]
    return errors


@dataclass(frozen=True)
class PrunedCosts:
    """The saliency that is pruned.

    Args:
        importance: Saliency of each weight, [g, k, m].
    """

    importance: Tensor

    def of_columns(self, surviving: Tensor) -> Tensor:
        """Add up what does not survive."""
        return self.importance.transpose(1, 2) @ (~surviving).to(self.importance)
