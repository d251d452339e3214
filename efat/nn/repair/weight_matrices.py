"""Weights on the array as matrices `W[g, k, m]`, and their position on the PEs."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from efat.errors import raise_problems
from efat.hardware import SystolicArray, gemm_indices
from efat.nn.lowering import lower_weight
from efat.nn.masking import MappedWeight, mapped_weights


@dataclass(frozen=True)
class WeightMatrix:
    """A weight as the matrix products of its groups.

    `k` counts input channels, then kernel taps (`k = i*taps + t`, as in `efat.nn.lowering`). The
    array's order does not change `k`, only the PE row that a `k` is on.

    Args:
        weight: The weight.
        positions: Index of `W[g, k, m]` in the flattened weight, [groups, k, m].
    """

    weight: MappedWeight
    positions: Tensor

    def matrix(self, weight: Tensor) -> Tensor:
        """Return a tensor of the weight's shape as [groups, k, m] in float64."""
        return weight.detach().flatten()[self.positions.to(weight.device)].double()

    def set_matrix(self, matrix: Tensor) -> None:
        """Set the weight to a matrix [groups, k, m], in newly allocated memory."""
        tensor = self.weight.tensor
        flat = tensor.detach().flatten().clone()
        flat[self.positions.to(flat.device)] = matrix.to(flat)
        tensor.data = flat.reshape(tensor.shape)

    @property
    def taps(self) -> int:
        """The number of consecutive `k` of one input channel."""
        return math.prod(self.weight.layout.shape[2:])

    @property
    def surviving(self) -> Tensor:
        """The weights of a masked layer that survive, bool [groups, k, m]."""
        return self.matrix(self.weight.mask) > 0

    def reduction(self, array: SystolicArray) -> NDArray[np.intp]:
        """Return each `k` counted in the array's order, [k]; `channel` gives all taps one index."""
        layout = self.weight.layout
        k, _ = gemm_indices(layout, array.order)
        flat = np.broadcast_to(k, layout.shape).ravel()
        return np.asarray(flat[self.positions[0, :, 0].cpu().numpy()])


def weight_matrices(model: nn.Module, off_array: Collection[str] = ()) -> dict[str, WeightMatrix]:
    """Return the weights on the array as products, by parameter name.

    Raises:
        EfatError: Layers that do not map, or a weight that two layers share: the repair of one
            layer would be wrong in the other.
    """
    weights = mapped_weights(model, off_array)
    owners: dict[int, str] = {}
    raise_problems(
        f"repair: {name!r} and {owners[id(weight.tensor)]!r} are one weight; untie them"
        for name, weight in weights.items()
        if owners.setdefault(id(weight.tensor), name) != name
    )
    return {name: WeightMatrix(weight, _positions(weight)) for name, weight in weights.items()}


def _positions(weight: MappedWeight) -> Tensor:
    layout, layer = weight.layout, weight.layer
    flat = torch.arange(layout.size).reshape(layout.shape)
    if isinstance(layer, nn.MultiheadAttention):  # [out, in], or three such in one
        return flat.reshape(layout.groups, -1, layout.shape[1]).transpose(1, 2)
    return lower_weight(layer, flat).flatten(1, 2)


def split_key(key: str) -> tuple[str, slice]:
    """Return the weight and the groups of a product that `run_layer` names.

    >>> split_key("attn.in_proj_weight.k"), split_key("fc.weight")
    (('attn.in_proj_weight', slice(1, 2, None)), ('fc.weight', slice(None, None, None)))
    """
    stacked, _, part = key.rpartition(".")
    if stacked.endswith("in_proj_weight"):
        group = "qkv".index(part)
        return stacked, slice(group, group + 1)
    return key, slice(None)


def join(prefix: str, name: Any) -> str:
    """Return the full name of a layer's parameter `name`."""
    return f"{prefix}.{name}".lstrip(".")
