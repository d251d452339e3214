"""One-shot compensation: linear solves on Gram matrices of the fault-free network."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn

from efat.errors import EfatError
from efat.hardware import FaultMap, Placement, SystolicArray
from efat.nn.masking import mask_model
from efat.nn.repair.batch_norm import fold_shift, has_intercept
from efat.nn.repair.gram import Gram
from efat.nn.repair.grams import Grams
from efat.nn.repair.solve import RIDGE, solve_compensation
from efat.nn.repair.weight_matrices import weight_matrices


@torch.no_grad()
def compensate(
    model: nn.Module,
    fault_map: FaultMap,
    array: SystolicArray,
    grams: Grams,
    *,
    ridge: float = RIDGE,
    placement: Placement | None = None,
    off_array: Collection[str] = (),
) -> nn.Module:
    """Return a masked copy of a network whose surviving weights compensate the pruned ones.

    For each layer and output channel, a ridge regression (towards the baseline weights) fits the
    surviving weights to the fault-free output on the calibration inputs. The mean shift is added to
    the layer's bias or to the running mean of the BatchNorm after it; a layer with neither is
    fitted without an intercept. Every layer is fitted to fault-free inputs, so no data is needed.

    If Gram matrices are in blocks, each block compensates the weights pruned in it. The joint
    update of a channel is then scaled by the share, 0 to 1, that fits the sampled rows best.

    Args:
        model: The fault-free network.
        fault_map: Faults of the chip, or of a group of chips.
        array: A weight-stationary array.
        grams: From `measure_grams` of the same network.
        ridge: See `solve_updates`.
        placement: Columns and rows of output channels and inputs, from `remap`.
        off_array: Names of layers that are not on the array.

    Raises:
        EfatError: As `mask_model`; Gram matrices of another network; a ridge that is not positive.
    """
    products = weight_matrices(model, off_array)
    repaired = masked_copy(model, fault_map, array, off_array, placement)
    for name, target in weight_matrices(repaired, off_array).items():
        weights = products[name].matrix(products[name].weight.tensor)
        pruned = weights - products[name].matrix(target.weight.tensor)
        gram, centred = grams.of(name, target), has_intercept(name, target, grams.norms)
        update = _update(gram, centred, pruned, target.surviving, ridge)
        if centred:
            shift = (gram.mean[:, None, :] @ (pruned - update))[:, 0]
            fold_shift(repaired, name, target, grams.norms, shift)
        target.set_matrix(weights - pruned + update)
    return repaired


def _update(gram: Gram, centred: bool, pruned: Tensor, surviving: Tensor, ridge: float) -> Tensor:
    """Return the update of the surviving weights, [g, k, m]."""
    update = torch.zeros_like(pruned)
    for cut, matrix in gram.blocks(centred):
        update[:, cut] = solve_compensation(matrix, pruned[:, cut], surviving[:, cut], ridge)
    if gram.rows is not None:
        update *= _best_share(gram, gram.rows, centred, pruned, update)[:, None]
    return update


def _best_share(gram: Gram, rows: Tensor, centred: bool, pruned: Tensor, update: Tensor) -> Tensor:
    """Return the share of each channel's update, 0 to 1, with the least squared error, [g, m]."""
    missing = restored = torch.zeros((), dtype=torch.float64, device=rows.device)
    for cut in gram.cuts:
        x = rows[:, :, cut].double()
        x = x - gram.mean[:, None, cut] if centred else x
        missing, restored = missing + x @ pruned[:, cut], restored + x @ update[:, cut]
    power = restored.square().sum(1)
    return torch.where(power > 0, (missing * restored).sum(1) / power, 1.0).clamp(0, 1)


def masked_copy(
    model: nn.Module,
    fault_map: FaultMap,
    array: SystolicArray,
    off_array: Collection[str],
    placement: Placement | None,
) -> nn.Module:
    """Return a masked copy in evaluation mode, with its own weights."""
    if array.dataflow != "ws":
        raise EfatError(f"array.dataflow: {array.dataflow!r} given; compensation needs ws")
    return mask_model(copy.deepcopy(model).eval(), fault_map, array, off_array, placement)
