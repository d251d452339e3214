"""Which output channel goes to which column (the idea of SalvageDNN, Hanif & Shafique, 2020)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from efat.errors import EfatError
from efat.faults import FaultMap
from efat.mapping import Slots, SystolicArray, slot_count
from efat.repair.grams import Grams
from efat.repair.intercepts import norm_gains
from efat.repair.products import Product, products_of
from efat.repair.solve import RIDGE, RidgeSystem

Cost = Literal["compensated", "magnitude"]


@torch.no_grad()
def remap(
    model: nn.Module,
    fault_map: FaultMap,
    array: SystolicArray,
    grams: Grams,
    *,
    cost: Cost = "compensated",
    ridge: float = RIDGE,
    off_array: Collection[str] = (),
) -> dict[str, Slots]:
    """Choose columns so that what compensation cannot make up for is least.

    For each layer, a linear assignment of output channels to columns. `compensated`: the error that
    is left on the calibration inputs, `D' G D`, times the square of what the following BatchNorm
    multiplies the channel by; `magnitude`: the sum of `|w|` that is pruned (as SalvageDNN). A layer
    wider than the array takes each column once a fold; one that is narrower leaves the worst
    columns empty. All row tiles of a channel stay in one column, groups are placed one by one.

    Args:
        model: The fault-free network.
        fault_map: Faults of the chip.
        array: A weight-stationary array.
        grams: From `measure_grams` of the same network.
        cost: What to minimise.
        ridge: As for `compensate`.
        off_array: Names of layers that are not on the array.

    Returns:
        The placement, for `mask_model`, `compensate` and `emulate`.

    Raises:
        EfatError: A map of another array, Gram matrices of another network, an unknown cost.
    """
    if cost not in ("compensated", "magnitude"):
        raise EfatError(f"cost: {cost!r} given; one of compensated, magnitude is needed")
    if array.dataflow != "ws":
        raise EfatError(f"array.dataflow: {array.dataflow!r} given; remap needs ws")
    placement = {}
    for name, product in products_of(model, off_array).items():
        weights = product.matrix(product.weight.tensor)
        surviving = torch.from_numpy(product.surviving(array, fault_map)).to(weights.device)
        if cost == "magnitude":
            costs = magnitude_costs(weights, surviving)
        else:
            costs = compensated_costs(weights, grams.matrix(name, product), surviving, ridge)
            if name in grams.norms:
                costs *= norm_gains(model, grams.norms[name]).reshape(len(costs), -1, 1)
        placement[name] = _assign(costs.cpu().numpy(), product, array)
    return placement


def compensated_costs(weights: Tensor, gram: Tensor, surviving: Tensor, ridge: float) -> Tensor:
    """Return the error of each channel, compensated, on each column, [g, m, cols].

    Args:
        weights: float64 [g, k, m].
        gram: float64 [g, k, k].
        surviving: bool [k, cols].
        ridge: See `RidgeSystem`.
    """
    sets, of_column = torch.unique(surviving, dim=1, return_inverse=True)
    system = RidgeSystem(gram, ridge)
    costs = [system.errors_left(weights, kept) for kept in sets.T]
    return torch.stack(costs, dim=2)[:, :, of_column]


def magnitude_costs(weights: Tensor, surviving: Tensor) -> Tensor:
    """Return the sum of `|w|` that each column prunes of each channel, [g, m, cols]."""
    return weights.abs().transpose(1, 2) @ (~surviving).to(weights)


def _assign(costs: NDArray[np.float64], product: Product, array: SystolicArray) -> Slots:
    """Assign the channels of each group to slots, [groups, m]."""
    groups, _, m = product.positions.shape
    folds = slot_count(m, array) // array.cols
    slots = np.empty((groups, m), dtype=np.intp)
    for group in range(groups):
        slots[group] = linear_sum_assignment(np.tile(costs[group], folds))[1]
    return slots
