"""Sequential compensation: each layer fitted to what really reaches it through the repaired ones.

Fault-free and repaired samples run side by side in one batch, twice the calibration set, so that
one pass is enough: at each layer the first half gives the outputs to reproduce, the second half
the inputs to do it from; then the layer is repaired, and the second half goes on through it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from efat.activation_masks import keep_dense
from efat.errors import EfatError
from efat.faults import FaultMap
from efat.lowering import lower_outputs
from efat.mapping import Placement, SystolicArray
from efat.masking import mapped_layers
from efat.repair.compensate import masked_copy
from efat.repair.intercepts import fold_shift, following_norms, has_intercept
from efat.repair.moments import Moments, lowered_pieces
from efat.repair.products import Product, join, products_of
from efat.repair.solve import RIDGE, solve_updates


@torch.no_grad()
def compensate_sequentially(
    model: nn.Module,
    fault_map: FaultMap,
    array: SystolicArray,
    inputs: Tensor,
    *,
    ridge: float = RIDGE,
    placement: Placement | None = None,
    off_array: Collection[str] = (),
) -> nn.Module:
    """Return a masked copy of a network, compensated layer by layer (see `compensate`).

    Memory: the activations of twice the calibration set, those alive at one time.

    Args:
        model: The fault-free network; its layers see the batch first. No attention.
        fault_map: Faults of the chip, or of a group of chips.
        array: A weight-stationary array.
        inputs: The calibration set, [samples, ...].
        ridge: See `solve_updates`.
        placement: Where output channels and inputs go, from `remap`.
        off_array: Names of layers that are not on the array.

    Raises:
        EfatError: As `mask_model`; an attention; a layer whose input is not batch first.
    """
    layers = mapped_layers(model, off_array)
    attentions = [n for n, layer in layers.items() if isinstance(layer, nn.MultiheadAttention)]
    if attentions:
        raise EfatError(
            f"compensate_sequentially: attention {attentions[0]!r} found; use compensate, or name "
            "it in off_array"
        )
    repaired = masked_copy(model, fault_map, array, off_array, placement)
    if not fault_map.fault_count:
        return repaired
    runner = copy.deepcopy(model).eval()
    keep_dense(runner)
    norms = following_norms(runner, products_of(runner, off_array), inputs[:1])
    repair = _Repair(repaired, ridge, norms, products_of(repaired, off_array))
    for name, layer in mapped_layers(runner, off_array).items():
        hook = partial(_run_both, repair, len(inputs), name)
        layer.register_forward_hook(hook, with_kwargs=True)
    runner(torch.cat([inputs, inputs]))
    return repaired


@dataclass
class _Repair:
    """What is being repaired, and the shifts of the layers that are."""

    model: nn.Module
    ridge: float
    norms: dict[str, str]
    products: dict[str, Product]
    shifts: dict[str, Tensor] = field(default_factory=dict)

    def fit(self, name: str, x: Tensor, errors: Tensor) -> None:
        """Repair a layer.

        Args:
            name: Its weight.
            x: Its inputs in the repaired network.
            errors: What its outputs lack, masked, of the fault-free ones.
        """
        product = self.products[name]
        layer: Any = product.weight.layer
        groups, k, m = product.positions.shape
        moments = Moments(groups, k, m, x.device)
        for samples, rows in lowered_pieces(layer, x, k):
            moments.add(rows, lower_outputs(layer, errors[samples]))
        gram, wanted = moments.covariance, moments.error_covariance
        centred = has_intercept(name, product, self.norms)
        if not centred:
            gram = gram + moments.mean[:, :, None] * moments.mean[:, None, :]
            wanted = wanted + moments.mean[:, :, None] * moments.error_mean[:, None, :]
        update = solve_updates(gram, wanted, product.surviving, self.ridge)
        product.put(product.matrix(product.weight.tensor) + update)
        shift = moments.error_mean - (moments.mean[:, None, :] @ update)[:, 0]
        self.shifts[name] = shift if centred else torch.zeros_like(shift)
        fold_shift(self.model, name, product, self.norms, self.shifts[name])


def _run_both(
    repair: _Repair, samples: int, prefix: str, layer: Any, args: Any, kwargs: Any, out: Tensor
) -> Tensor:
    """Replace the repaired half of a layer's output (a forward hook)."""
    name = join(prefix, "weight")
    x = args[0] if args else kwargs["input"]
    if len(x) % (2 * samples):
        raise EfatError(
            f"compensate_sequentially: {prefix!r} sees {tuple(x.shape)} for {2 * samples} samples, "
            "which is not batch first; use compensate"
        )
    half = len(x) // 2
    if name not in repair.shifts:
        masked = _run_with(layer, repair.products[name].weight.tensor, x[half:])
        repair.fit(name, x[half:], out[:half] - masked)
    there = _run_with(layer, repair.products[name].weight.tensor, x[half:])
    shift = repair.shifts[name].flatten().to(out)
    if not isinstance(layer, nn.Linear):
        shift = shift.reshape(-1, *[1] * len(layer.kernel_size))
    return torch.cat([out[:half], there + shift])


def _run_with(layer: Any, weight: Tensor, x: Tensor) -> Tensor:
    """Run a layer with another weight, without its hooks."""
    own = layer.weight.data
    layer.weight.data = weight.detach()
    try:
        out: Tensor = layer.forward(x)
    finally:
        layer.weight.data = own
    return out
