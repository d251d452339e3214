"""Assign output channels to columns so that faults cost least (SalvageDNN: Hanif & Shafique, 2020).

If the hardware can stream inputs in another order, inputs are assigned to rows as well.
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

MIN_GAIN = 0.99
"""Rows and columns are chosen in turn while a round brings the cost below this share."""

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
    """Choose columns, and with `rows` also rows, of least cost.

    For each layer, a linear assignment of output channels to columns. A layer wider than the array
    uses each column once per fold; a narrower one leaves the worst columns empty. All row tiles of
    a channel stay in one column, and each group is assigned separately.

    With `rows`, inputs are assigned to rows as well, in no more folds than without: given the
    columns, a linear assignment of inputs to rows by the importance of the pruned weights, then
    columns again, while the cost falls. The cost is never above that of columns alone. The hardware
    must stream a layer's inputs in that order.

    Args:
        model: The fault-free network.
        fault_map: Faults of the chip.
        array: A weight-stationary array.
        by: The cost. Gram matrices, from `measure_grams` of the same network: the error `D' G D`
            after compensation on the calibration inputs, times the squared gain of the BatchNorm
            that follows. Saliencies, from `efat.nn.saliency` of the same network: their sum over
            pruned weights (`|w|` is SalvageDNN's).
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
        placement[name] = layer.rows_and_columns() if rows else layer.columns_only()
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
class _Assignment:
    """The assignment of a layer to columns and rows, and its cost.

    Args:
        columns: [groups, m].
        rows: [groups, k], or [1, k] if all groups have the same rows.
        cost: [groups].
    """

    columns: Index
    rows: Index
    cost: NDArray[np.float64]

    def better_of(self, other: _Assignment) -> _Assignment:
        """Return the cheaper of two assignments for each group."""
        better = other.cost < self.cost
        return _Assignment(
            np.where(better[:, None], other.columns, self.columns),
            np.where(better[:, None], other.rows, self.rows),
            np.where(better, other.cost, self.cost),
        )


class _Layer:
    """The assignment problem of one weight."""

    def __init__(
        self, product: WeightMatrix, costs: RemapCosts, array: SystolicArray, fault_map: FaultMap
    ) -> None:
        self.costs, self.array, self.faulty = costs, array, fault_map.faulty
        self.device = product.weight.tensor.device
        self.order = product.reduction(array)
        self.inputs = int(self.order.max()) + 1

    def columns_only(self) -> Slots:
        """Choose columns."""
        return Slots(self._columns(np.arange(self.inputs)[None]).columns)

    def rows_and_columns(self) -> Slots:
        """Choose rows and columns in turn while the cost falls; keep each group's best."""
        best = self._columns(np.arange(self.inputs)[None])
        while True:
            latest = best.better_of(self._columns(self._rows(best.columns)))
            if latest.cost.sum() >= MIN_GAIN * best.cost.sum():
                break
            best = latest
        return Slots(latest.columns, np.broadcast_to(latest.rows, (len(latest.cost), self.inputs)))

    def _columns(self, rows: Index) -> _Assignment:
        """Assign channels to columns."""
        healthy = torch.from_numpy(~self.faulty[rows[:, self.order] % self.array.rows])
        costs = self.costs.of_columns(healthy.to(self.device)).cpu().numpy()
        folds = slot_count(costs.shape[1], self.array.cols) // self.array.cols
        chosen = np.array([linear_sum_assignment(np.tile(cost, folds))[1] for cost in costs])
        taken = np.take_along_axis(costs, chosen[:, :, None] % self.array.cols, axis=2)
        return _Assignment(chosen, rows, taken.sum(axis=(1, 2)))

    def _rows(self, columns: Index) -> Index:
        """Assign inputs to rows."""
        importance = self.costs.importance.cpu()
        merged = importance.new_zeros(len(importance), self.inputs, importance.shape[2])
        merged.index_add_(1, torch.from_numpy(self.order), importance)  # taps may share a row
        faulty = self.faulty.T.astype(float)[columns % self.array.cols]
        return np.array([_assign_rows(costs) for costs in merged.numpy() @ faulty])


def _assign_rows(costs: NDArray[np.float64]) -> Index:
    """Return the row slot of each input, [k], of least cost [k, rows]."""
    count, rows = costs.shape
    folds = slot_count(count, rows) // rows
    blocks = -(-folds * rows // BLOCK)
    # similar neighbours are assigned to different blocks
    order = np.argsort(np.arange(count) % blocks, kind="stable")
    slots = np.empty(count, dtype=np.intp)
    for block in np.array_split(np.arange(folds), min(blocks, folds)):
        first, end = block[0] * rows, (block[-1] + 1) * rows
        inputs = order[first:end]
        slots[inputs] = first + linear_sum_assignment(np.tile(costs[inputs], len(block)))[1]
    return slots
