"""The mapping of a layer onto the PEs, for each dataflow and order (METHOD section 2).

Pure index arithmetic. A layer is one matrix product `Y[n, m] = sum_k X[n, k] W[k, m]` per group:
`n` counts batch x space (see `efat.nn.lowering`), `k` the reduction and `m` the output channels of
the group. The dataflow decides which operand stays in a PE (`%` is the remainder):

- `ws`, weight-stationary: `W[k, m]` on `PE(k % rows, m % cols)`;
- `os`, output-stationary: `Y[n, m]` on `PE(n % rows, m % cols)`;
- `is`, input-stationary: `X[n, k]` on `PE(k % rows, n % cols)`.

This is SCALE-Sim's mapping (Samajdar et al., ISPASS 2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from efat.errors import EfatError, checked, raise_problems
from efat.hardware.fault_map import FaultMap

Order = Literal["im2col", "im2col_spatial_first", "channel"]
Dataflow = Literal["ws", "os", "is"]
Size = Annotated[int, Field(strict=True, ge=1)]


@checked("array")
class SystolicArray:
    """An array of rows x cols PEs, its dataflow, and the order in which it reads a kernel.

    Args:
        rows: PEs along the reduction (`os`: along batch x space).
        cols: PEs along the output channels (`is`: along batch x space).
        order: `im2col`: `k = (i*kh + y)*kw + x` for `W[o, i, y, x]`; `im2col_spatial_first`:
            `k = (y*kw + x)*Cin + i`; `channel` (Zhang et al., VTS 2018): `k = i`, so that all taps
            of a kernel share one PE, one tap after the other.
        dataflow: The operand that stays in a PE: `ws` weights, `os` outputs, `is` inputs.

    Raises:
        EfatError: A size below 1, an unknown order or dataflow; all problems at once.
    """

    rows: Size
    cols: Size
    order: Order = "im2col"
    dataflow: Dataflow = "ws"


@dataclass(frozen=True, eq=False)
class Slots:
    """The positions of a weight's output channels and inputs on a weight-stationary array.

    Slot `s` of the columns is column `s % cols` of fold `s // cols`, slot `s` of the rows is row
    `s % rows` of fold `s // rows`. Without slots, `m` is in slot `m` and `k` in slot `k`.

    Args:
        columns: Slot of each output channel, [groups, m].
        rows: Slot of each `k`, counted in the array's order, [groups, k]; None: input `k` is in
            slot `k`.
    """

    columns: NDArray[np.intp]
    rows: NDArray[np.intp] | None = None

    def of_group(self, group: int) -> Slots:
        """Return the slots of one group."""
        rows = None if self.rows is None else self.rows[[group]]
        return Slots(self.columns[[group]], rows)


Placement = Mapping[str, Slots]
"""Slots of weights, by parameter name; a weight that is not in it is in its own order."""


@dataclass(frozen=True)
class WeightLayout:
    """The matrix products of a weight tensor, as torch stores it.

    Each group is one matrix product and starts at PE(0, 0); depthwise convolution has as many
    groups as channels. A linear layer is `[out, in]` with one group; the stacked projections
    of an attention (`in_proj_weight`) are three groups that share their inputs.

    Args:
        shape: `[out, in/groups, *kernel]`; transposed: `[in, out/groups, *kernel]`.
        groups: Number of matrix products.
        transposed: Transposed convolution: the convolution of the input with zeros between its
            elements, with the kernel flipped; `k` counts the taps of the flipped kernel.
    """

    shape: tuple[int, ...]
    groups: int = 1
    transposed: bool = False

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


def gemm_indices(layout: WeightLayout, order: Order) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return `k` and `m` of every weight, broadcastable to the weight's shape.

    >>> k, m = gemm_indices(WeightLayout((2, 3, 1, 2)), "im2col")
    >>> k[0].tolist(), m.ravel().tolist()
    ([[[0, 1]], [[2, 3]], [[4, 5]]], [0, 1])
    """
    first, second, *kernel = layout.shape
    grouped = np.arange(first) % (first // layout.groups)
    ones, taps = (1,) * len(kernel), math.prod(kernel)
    leading, trailing = grouped.reshape(-1, 1, *ones), np.arange(second).reshape(1, -1, *ones)
    tap = np.arange(taps).reshape(1, 1, *kernel)
    i, m, inputs = trailing, leading, second
    if layout.transposed:
        i, m, inputs = leading, trailing, first // layout.groups
        tap = taps - 1 - tap
    return reduction_index(i, tap, inputs, taps, order), m


def reduction_index(
    i: NDArray[np.intp], tap: NDArray[np.intp], inputs: int, taps: int, order: Order
) -> NDArray[np.intp]:
    """Return `k` of input channel `i` (of `inputs` in its group) and kernel tap (of `taps`).

    >>> reduction_index(np.array([0, 1]), np.array([2, 2]), 4, 9, "im2col").tolist()
    [2, 11]
    """
    return {
        "im2col": i * taps + tap,
        "im2col_spatial_first": tap * inputs + i,
        "channel": i + 0 * tap,
    }[order]


def pruned_weights(
    layout: WeightLayout,
    array: SystolicArray,
    fault_map: FaultMap,
    slots: Slots | None = None,
) -> NDArray[np.bool_]:
    """Return which weights sit on a faulty PE, in the weight's own shape (True = pruned).

    Args:
        layout: The weight.
        array: A weight-stationary array.
        fault_map: Its faults.
        slots: Positions of output channels and inputs; None: in their own order.

    Raises:
        EfatError: The fault map is of another array, no weight stays in a PE of this array, or
            the slots do not fit this weight.
    """
    check_fault_map(array, fault_map)
    _check_weight_stationary(array)
    k, m = gemm_indices(layout, array.order)
    if slots is not None:
        raise_problems(slot_problems(layout, array, slots))
        first = layout.shape[0]
        group = np.arange(first) // (first // layout.groups)
        group = group.reshape(-1, *(1,) * (len(layout.shape) - 1))
        m = slots.columns[group, m]
        k = k if slots.rows is None else slots.rows[group, k]
    pruned = fault_map.faulty[k % array.rows, m % array.cols]
    return np.broadcast_to(pruned, layout.shape)


def slot_count(items: int, side: int) -> int:
    """Count the slots of output channels or inputs: whole folds, no more than without slots.

    Args:
        items: Output channels, or inputs of the reduction.
        side: Columns, or rows, of the array.

    >>> slot_count(16, 64), slot_count(65, 64)
    (64, 128)
    """
    return -(-items // side) * side


def slot_problems(layout: WeightLayout, array: SystolicArray, slots: Slots) -> list[str]:
    """Return why the slots of a weight are not distinct positions on the array."""
    k, m = (int(index.max()) + 1 for index in gemm_indices(layout, array.order))
    problems = _side_problems(
        slots.columns, (layout.groups, m), array.cols, "output channels", "slots"
    )
    if slots.rows is not None:
        problems += _side_problems(
            slots.rows, (layout.groups, k), array.rows, "inputs", "row slots"
        )
    return problems


def _side_problems(
    slots: NDArray[Any], shape: tuple[int, int], side: int, items: str, label: str
) -> list[str]:
    """Return the problems of the slots along one side of the array."""
    count = slot_count(shape[1], side)
    if slots.shape != shape or not np.issubdtype(slots.dtype, np.integer):
        return [
            f"{label}: {slots.dtype} of shape {slots.shape} given; integers of shape {shape} "
            f"[groups, {items} of a group] are needed"
        ]
    taken = np.sort(slots, axis=1)
    if taken[:, 0].min() < 0 or taken[:, -1].max() >= count or (np.diff(taken) == 0).any():
        return [
            f"{label}: {slots.min()} to {slots.max()} given; within a group, all {items} need "
            f"slots of their own from 0 to {count - 1}"
        ]
    return []


def sum_per_pe(
    layout: WeightLayout, array: SystolicArray, values: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Sum a value of each weight over the weights of each PE, over all tiles and groups.

    Args:
        layout: The weight.
        array: A weight-stationary array.
        values: One value per weight, in the weight's shape; None counts the weights.

    Returns:
        [rows, cols].

    >>> sum_per_pe(WeightLayout((1, 4)), SystolicArray(2, 2), [[1, 10, 100, 1000]]).tolist()
    [[101.0, 0.0], [1010.0, 0.0]]
    """
    _check_weight_stationary(array)
    k, m = gemm_indices(layout, array.order)
    pe = np.broadcast_to(k % array.rows * array.cols + m % array.cols, layout.shape)
    weights: Any = None if values is None else np.asarray(values, dtype=np.float64).ravel()
    sums = np.bincount(pe.ravel(), weights, minlength=array.rows * array.cols)
    return sums.reshape(array.rows, array.cols).astype(np.float64)


def weights_per_pe(layout: WeightLayout, array: SystolicArray) -> NDArray[np.int64]:
    """Count the weights of a layer on each PE, [rows, cols], over all tiles and groups."""
    return sum_per_pe(layout, array).astype(np.int64)


def check_fault_map(array: SystolicArray, fault_map: FaultMap) -> None:
    """Raise `EfatError` if `fault_map` is not a map of `array`."""
    if fault_map.shape != (array.rows, array.cols):
        raise EfatError(
            f"fault map: {fault_map.rows}x{fault_map.cols} PEs given; "
            f"the array has {array.rows}x{array.cols}; use a map of this array"
        )


def _check_weight_stationary(array: SystolicArray) -> None:
    if array.dataflow != "ws":
        raise EfatError(
            f"array.dataflow: {array.dataflow!r} given; no weight stays in a PE then, so none is "
            "pruned; use ws, or array_rate as the severity"
        )
