"""Which output channel goes to which column (the idea of SalvageDNN, Hanif & Shafique, 2020).

And, where the hardware can stream them in another order, which input goes to which row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import nn

from efat.errors import EfatError
from efat.hardware import FaultMap, Slots, SystolicArray, check_fault_map, slot_count
from efat.nn.repair.batch_norm import has_intercept, norm_gains
from efat.nn.repair.grams import Grams
from efat.nn.repair.remap_costs import CompensatedCosts, PrunedCosts, RemapCosts
from efat.nn.repair.solve import RIDGE
from efat.nn.repair.weight_matrices import WeightMatrix, weight_matrices
from efat.nn.saliency import Saliencies

BLOCK = 1024
"""Inputs that are assigned to rows at once; more are cut into blocks of whole folds (scipy's time
grows with the third power)."""

WORTH = 0.99
"""Rows and columns are chosen in turn as long as that takes a layer's error below this share."""

Index = NDArray[np.intp]


@torch.no_grad()
def remap(
    model: nn.Module,
    fault_map: FaultMap,
    array: SystolicArray,
    by: Grams | Saliencies,
    *,
    rows: bool = False,
    ridge: float = RIDGE,
    off_array: Collection[str] = (),
) -> dict[str, Slots]:
    """Choose columns, and rows if asked to, so that what is lost is least.

    For each layer, a linear assignment of output channels to columns. A layer wider than the array
    takes each column once a fold; one that is narrower leaves the worst columns empty. All row
    tiles of a channel stay in one column, groups are placed one by one.

    With `rows`, inputs go to other rows as well, in no more folds than without: given the columns,
    a linear assignment of inputs to rows by what the weights that are lost there are worth one by
    one, then columns anew, as long as what is lost gets less. It is never more than with columns
    alone. The hardware must stream a layer's inputs in that order.

    Args:
        model: The fault-free network.
        fault_map: Faults of the chip.
        array: A weight-stationary array.
        by: What counts as lost. Gram matrices, from `measure_grams` of the same network: the error
            `D' G D` that compensation leaves on the calibration inputs, times the square of what
            the following BatchNorm multiplies the channel by. Saliencies, from `efat.nn.saliency`
            of the same network: their sum over pruned weights (`|w|` is SalvageDNN's).
        rows: Choose rows too.
        ridge: As for `compensate`.
        off_array: Names of layers that are not on the array.

    Returns:
        The placement, for `mask_model`, `compensate` and `emulate`.

    Raises:
        EfatError: A map of another array, Gram matrices or saliencies of another network.
    """
    if array.dataflow != "ws":
        raise EfatError(f"array.dataflow: {array.dataflow!r} given; remap needs ws")
    check_fault_map(array, fault_map)
    products = weight_matrices(model, off_array)
    all_costs = (
        _compensated(model, products, by, ridge) if isinstance(by, Grams) else _pruned(products, by)
    )
    placement = {}
    for name, product in products.items():
        layer = _Layer(product, all_costs[name], array, fault_map)
        placement[name] = layer.both() if rows else layer.columns_alone()
    return placement


def _compensated(
    model: nn.Module, products: Mapping[str, WeightMatrix], grams: Grams, ridge: float
) -> dict[str, RemapCosts]:
    costs: dict[str, RemapCosts] = {}
    for name, product in products.items():
        weights = product.matrix(product.weight.tensor)
        gains = torch.ones_like(weights[:, 0])
        if name in grams.norms:
            gains = norm_gains(model, grams.norms[name]).reshape(gains.shape)
        centred = has_intercept(name, product, grams.norms)
        costs[name] = CompensatedCosts(weights, grams.of(name, product), centred, gains, ridge)
    return costs


def _pruned(products: Mapping[str, WeightMatrix], saliencies: Saliencies) -> dict[str, RemapCosts]:
    layouts = [product.weight.layout for product in products.values()]
    if [layout for layout, _ in saliencies] != layouts:
        raise EfatError("saliencies: of another network; take them of this model and off_array")
    return {
        name: PrunedCosts(product.matrix(torch.from_numpy(values).to(product.weight.tensor.device)))
        for (name, product), (_, values) in zip(products.items(), saliencies, strict=True)
    }


@dataclass(frozen=True)
class _Placed:
    """Where a layer lies, and what each of its groups loses there.

    Args:
        columns: [groups, m].
        rows: [groups, k], or [1, k] where all groups lie alike.
        lost: [groups].
    """

    columns: Index
    rows: Index
    lost: NDArray[np.float64]

    def or_else(self, other: _Placed) -> _Placed:
        """Return the better of two for each group."""
        better = other.lost < self.lost
        return _Placed(
            np.where(better[:, None], other.columns, self.columns),
            np.where(better[:, None], other.rows, self.rows),
            np.where(better, other.lost, self.lost),
        )


class _Layer:
    """One weight and the array it is placed on."""

    def __init__(
        self, product: WeightMatrix, costs: RemapCosts, array: SystolicArray, fault_map: FaultMap
    ) -> None:
        self.costs, self.array, self.faulty = costs, array, fault_map.faulty
        self.device = product.weight.tensor.device
        self.order = product.reduction(array)
        self.inputs = int(self.order.max()) + 1

    def columns_alone(self) -> Slots:
        """Choose columns."""
        return Slots(self._columns(np.arange(self.inputs)[None]).columns)

    def both(self) -> Slots:
        """Choose rows and columns in turn, as long as that helps; keep each group's best."""
        best = self._columns(np.arange(self.inputs)[None])
        while True:
            found = best.or_else(self._columns(self._rows(best.columns)))
            if found.lost.sum() >= WORTH * best.lost.sum():
                break
            best = found
        return Slots(found.columns, np.broadcast_to(found.rows, (len(found.lost), self.inputs)))

    def _columns(self, rows: Index) -> _Placed:
        """Assign channels to columns."""
        healthy = torch.from_numpy(~self.faulty[rows[:, self.order] % self.array.rows])
        costs = self.costs.of_columns(healthy.to(self.device)).cpu().numpy()
        folds = slot_count(costs.shape[1], self.array.cols) // self.array.cols
        chosen = np.array([linear_sum_assignment(np.tile(cost, folds))[1] for cost in costs])
        taken = np.take_along_axis(costs, chosen[:, :, None] % self.array.cols, axis=2)
        return _Placed(chosen, rows, taken.sum(axis=(1, 2)))

    def _rows(self, columns: Index) -> Index:
        """Assign inputs to rows."""
        worth = self.costs.importance.cpu()
        merged = worth.new_zeros(len(worth), self.inputs, worth.shape[2])
        merged.index_add_(1, torch.from_numpy(self.order), worth)  # taps may share a row
        faulty = self.faulty.T.astype(float)[columns % self.array.cols]
        return np.array([_assign_rows(costs) for costs in merged.numpy() @ faulty])


def _assign_rows(costs: NDArray[np.float64]) -> Index:
    """Assign inputs to row slots by what each loses on each row, [k, rows]; [k]."""
    count, rows = costs.shape
    folds = slot_count(count, rows) // rows
    blocks = -(-folds * rows // BLOCK)
    # neighbours, which resemble each other, go to different blocks
    order = np.argsort(np.arange(count) % blocks, kind="stable")
    slots = np.empty(count, dtype=np.intp)
    for some in np.array_split(np.arange(folds), min(blocks, folds)):
        first, past = some[0] * rows, (some[-1] + 1) * rows
        here = order[first:past]
        slots[here] = first + linear_sum_assignment(np.tile(costs[here], len(some)))[1]
    return slots
