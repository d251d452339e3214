"""Sequential compensation: each layer is fitted to its inputs in the repaired network."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from efat.hardware import FaultMap, Placement, SystolicArray
from efat.nn.lowering import unfold_outputs
from efat.nn.repair.batch_norm import fold_shift, following_norms, has_intercept
from efat.nn.repair.compensate import masked_copy
from efat.nn.repair.gram import LARGEST, block_size, cuts
from efat.nn.repair.moments import Moments, lowered_pieces
from efat.nn.repair.paired_forward import refuse_attention, run_paired
from efat.nn.repair.solve import RIDGE, solve_updates
from efat.nn.repair.weight_matrices import WeightMatrix, weight_matrices

CALLER = "compensate_sequentially"


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
    largest: int = LARGEST,
) -> nn.Module:
    """Return a masked copy of a network, compensated layer by layer (see `compensate`).

    A layer with more inputs than `largest` is compensated block by block; each block is fitted to
    the error that remains after the blocks before it.

    Memory: the live activations of twice the calibration set.

    Args:
        model: The fault-free network; its layers see the batch first. No attention.
        fault_map: Faults of the chip, or of a group of chips.
        array: A weight-stationary array.
        inputs: The calibration set, [samples, ...].
        ridge: See `solve_updates`.
        placement: Columns and rows of output channels and inputs, from `remap`.
        off_array: Names of layers that are not on the array.
        largest: See `measure_grams`.

    Raises:
        EfatError: As `mask_model`; an attention; a layer whose input is not batch first.
    """
    refuse_attention(model, off_array, CALLER)
    repaired = masked_copy(model, fault_map, array, off_array, placement)
    if not fault_map.fault_count:
        return repaired
    products = weight_matrices(repaired, off_array)
    copied = copy.deepcopy(model).eval()
    norms = following_norms(copied, weight_matrices(copied, off_array), inputs[:1])
    fit = _Repair(repaired, ridge, norms, products, largest)
    run_paired(model, inputs, fit, CALLER, off_array)
    return repaired


@dataclass
class _Repair:
    """The network under repair, and the output shifts of the layers that are done."""

    model: nn.Module
    ridge: float
    norms: dict[str, str]
    products: dict[str, WeightMatrix]
    largest: int
    shifts: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, x: Tensor, wanted: Tensor) -> Tensor:
        """Repair a layer the first time that it runs, and run it (see `PairedStep`)."""
        layer: Any = self.products[name].weight.layer
        if name not in self.shifts:
            self.fit(name, x, wanted)
        out: Tensor = layer.forward(x)
        if layer.bias is not None:
            return out  # the bias includes the shift
        shift = self.shifts[name].flatten().to(out)
        if not isinstance(layer, nn.Linear):
            shift = shift.reshape(-1, *[1] * len(layer.kernel_size))
        return out + shift

    def fit(self, name: str, x: Tensor, wanted: Tensor) -> None:
        """Repair a layer.

        Args:
            name: Its weight.
            x: Its inputs in the repaired network.
            wanted: Its fault-free outputs.
        """
        product = self.products[name]
        layer: Any = product.weight.layer
        k = product.positions.shape[1]
        centred = has_intercept(name, product, self.norms)
        for cut in cuts(k, block_size(k, product.taps, self.largest)):
            shift = self._fit_block(product, cut, x, wanted - layer.forward(x), centred)
        self.shifts[name] = shift if centred else torch.zeros_like(shift)
        fold_shift(self.model, name, product, self.norms, self.shifts[name])

    def _fit_block(
        self, product: WeightMatrix, cut: slice, x: Tensor, errors: Tensor, centred: bool
    ) -> Tensor:
        """Repair a layer with some of its inputs; return the remaining shift, [g, m].

        Args:
            product: Its weight.
            cut: The inputs.
            x: Its inputs in the repaired network.
            errors: Fault-free outputs minus its outputs.
            centred: Whether the layer can absorb a shift of its outputs.
        """
        layer: Any = product.weight.layer
        groups, k, m = product.positions.shape
        moments = Moments(groups, cut.stop - cut.start, m, x.device)
        for samples, rows in lowered_pieces(layer, x, k):
            moments.add(rows[:, :, cut], unfold_outputs(layer, errors[samples]))
        gram, wanted = moments.covariance, moments.error_covariance
        if not centred:
            gram = gram + moments.mean[:, :, None] * moments.mean[:, None, :]
            wanted = wanted + moments.mean[:, :, None] * moments.error_mean[:, None, :]
        update = solve_updates(gram, wanted, product.surviving[:, cut], self.ridge)
        weights = product.matrix(product.weight.tensor)
        weights[:, cut] += update
        product.set_matrix(weights)
        return moments.error_mean - (moments.mean[:, None, :] @ update)[:, 0]
