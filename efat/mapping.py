"""Where a weight-stationary array keeps each weight of a layer (METHOD section 2).

Pure index arithmetic: a layer is a matrix `W[k, m]`, `k` over the reduction and `m` over output
channels, cut into tiles of rows x cols; `W[k, m]` sits on `PE(k mod rows, m mod cols)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from efat.errors import EfatError, raise_problems
from efat.faults import FaultMap

Order = Literal["im2col", "im2col_spatial_first", "channel"]


@dataclass(frozen=True)
class SystolicArray:
    """A weight-stationary array of rows x cols PEs and the order in which it takes a kernel.

    Args:
        rows: PEs along the reduction.
        cols: PEs along the output channels.
        order: `im2col`: `k = (i*kh + y)*kw + x` for `W[o, i, y, x]`; `im2col_spatial_first`:
            `k = (y*kw + x)*Cin + i`; `channel` (Zhang et al., VTS 2018): `k = i`, so that all taps
            of a 2-D kernel share one PE.

    Raises:
        EfatError: A size below 1 or an unknown order; all problems at once.
    """

    rows: int
    cols: int
    order: Order = "im2col"

    def __post_init__(self) -> None:
        problems = [
            f"array.{name}: {value!r} given; an int >= 1 is needed"
            for name, value in (("rows", self.rows), ("cols", self.cols))
            if type(value) is not int or value < 1
        ]
        if self.order not in get_args(Order):
            allowed = ", ".join(get_args(Order))
            problems.append(f"array.order: {self.order!r} given; one of {allowed} is needed")
        raise_problems(problems)


@dataclass(frozen=True)
class WeightLayout:
    """How a weight tensor is a matrix product: `[out, in/groups, *kernel]`, as torch stores it.

    A linear layer is `[out, in]` with one group. Each group is a matrix product of its own and
    starts at PE(0, 0); depthwise convolution has as many groups as channels.
    """

    shape: tuple[int, ...]
    groups: int = 1

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
    outputs, inputs, *kernel = layout.shape
    ones = (1,) * len(kernel)
    m = (np.arange(outputs) % (outputs // layout.groups)).reshape(-1, 1, *ones)
    i = np.arange(inputs).reshape(1, -1, *ones)
    tap = np.arange(math.prod(kernel)).reshape(1, 1, *kernel)
    k = {
        "im2col": i * math.prod(kernel) + tap,
        "im2col_spatial_first": tap * inputs + i,
        "channel": i + 0 * tap,
    }[order]
    return k, m


def pruned_weights(
    layout: WeightLayout, array: SystolicArray, fault_map: FaultMap
) -> NDArray[np.bool_]:
    """Return which weights sit on a faulty PE, in the weight's own shape (True = pruned).

    Raises:
        EfatError: The fault map is of another array.
    """
    check_fault_map(array, fault_map)
    k, m = gemm_indices(layout, array.order)
    pruned = fault_map.faulty[k % array.rows, m % array.cols]
    return np.broadcast_to(pruned, layout.shape)


def weights_per_pe(layout: WeightLayout, array: SystolicArray) -> NDArray[np.int64]:
    """Count the weights of a layer on each PE, [rows, cols], over all tiles and groups."""
    k, m = gemm_indices(layout, array.order)
    pe = np.broadcast_to(k % array.rows * array.cols + m % array.cols, layout.shape)
    counts = np.bincount(pe.ravel(), minlength=array.rows * array.cols)
    return counts.reshape(array.rows, array.cols)


def check_fault_map(array: SystolicArray, fault_map: FaultMap) -> None:
    """Raise `EfatError` if `fault_map` is not a map of `array`."""
    if fault_map.shape != (array.rows, array.cols):
        raise EfatError(
            f"fault map: {fault_map.rows}x{fault_map.cols} PEs given; "
            f"the array has {array.rows}x{array.cols}; use a map of this array"
        )
