"""Correct the scale and shift of each output channel, for networks without BatchNorm."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from efat.errors import EfatError
from efat.nn.masking import masked_weights
from efat.nn.repair.moments import Moments
from efat.nn.repair.paired_forward import refuse_attention, run_paired
from efat.nn.repair.weight_matrices import WeightMatrix, weight_matrices

CALLER = "rescale"

PIECE = 1 << 20
"""Elements of an output at a time."""


@torch.no_grad()
def rescale(
    model: nn.Module, masked: nn.Module, inputs: Tensor, off_array: Collection[str] = ()
) -> nn.Module:
    """Return a copy of a masked network whose channels have their fault-free scale and mean.

    For each layer and output channel, the least-squares fit `a y + b` of the fault-free output by
    the masked output `y`, with inputs from the layers rescaled before. `a` multiplies the channel's
    surviving weights and its bias, `b` is added to its bias; a layer without a bias gets the best
    scale without a shift. A channel that is constant under the mask keeps its weights.

    Args:
        model: The fault-free network; its layers see the batch first. No attention.
        masked: Its copy after `mask_model`, compensated or not. No BatchNorm, whose statistics
            would be wrong: see `recalibrate`.
        inputs: The calibration set, [samples, ...].
        off_array: Names of layers that are not on the array.

    Raises:
        EfatError: No mask on weights; an attention; a layer whose input is not batch first; a
            weight that two layers share.
    """
    refuse_attention(model, off_array, CALLER)
    if not masked_weights(masked):
        raise EfatError("rescale: the model has no mask on weights; use mask_model with ws first")
    rescaled = copy.deepcopy(masked).eval()
    fit = _Fit(weight_matrices(rescaled, off_array))
    run_paired(model, inputs, fit, CALLER, off_array)
    return rescaled


@dataclass
class _Fit:
    """The layers to rescale, and the names of those that are done."""

    products: dict[str, WeightMatrix]
    done: set[str] = field(default_factory=set)

    def __call__(self, name: str, x: Tensor, wanted: Tensor) -> Tensor:
        """Rescale a layer the first time that it runs, and run it (see `PairedStep`)."""
        product = self.products[name]
        layer: Any = product.weight.layer
        if name not in self.done:
            self.done.add(name)
            _fold(product, *_scale_and_shift(layer, layer.forward(x), wanted))
        out: Tensor = layer.forward(x)
        return out


def _fold(product: WeightMatrix, scale: Tensor, shift: Tensor) -> None:
    """Fold `scale * y + shift` [channels] into a layer's weights and bias."""
    layer: Any = product.weight.layer
    groups, _, m = product.positions.shape
    product.set_matrix(product.matrix(product.weight.tensor) * scale.reshape(groups, 1, m))
    if layer.bias is not None:
        layer.bias.data = (layer.bias.double() * scale + shift).to(layer.bias)


def _scale_and_shift(layer: Any, given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return `a` and `b` of each channel, float64 [channels], the fit of `wanted` by `given`.

    Args:
        layer: The layer, batch first; without a bias `b` is 0.
        given: Outputs of the masked layer.
        wanted: Outputs of the fault-free layer.
    """
    moments = Moments(_by_channel(layer, given[:1]).shape[0], 1, 1, given.device)
    step = max(1, PIECE // max(1, given[0].numel()))
    for y, z in zip(given.split(step), wanted.split(step), strict=True):
        moments.add(_by_channel(layer, y), _by_channel(layer, z - y))
    mean, missing = moments.mean[:, 0], moments.error_mean[:, 0]
    spread, common = moments.covariance[:, 0, 0], moments.error_covariance[:, 0, 0]
    if layer.bias is None:
        spread, common = spread + mean.square(), common + mean * missing
    extra = torch.where(spread > 0, common / spread, 0.0)
    shift = torch.zeros_like(extra) if layer.bias is None else missing - extra * mean
    return 1 + extra, shift


def _by_channel(layer: Any, out: Tensor) -> Tensor:
    """Return an output as [channels, n, 1]."""
    last = out if isinstance(layer, nn.Linear) else out.movedim(1, -1)
    return last.flatten(0, -2).T[:, :, None]
