"""Cycle-accurate simulation of every register of every PE, for small arrays.

It is the reference for `efat.hardware.emulation.gemm` and shares no arithmetic with it: registers
latch once per cycle, operands enter skewed, words are forced bit by bit. Cycles follow the model of
SCALE-Sim (Samajdar et al., ISPASS 2020): `2R + C + T - 2` per fold, for each dataflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efat.hardware.emulation.stuck_at import ArrayFaults, Site, check_operands
from efat.hardware.mapping import SystolicArray, check_fault_map

BITS: dict[Site, int] = {"weight": 8, "input": 8, "product": 16, "psum": 32}


@dataclass(frozen=True)
class CycleRun:
    """The outputs of the array, [n, m], and the number of cycles."""

    outputs: NDArray[Any]
    cycles: int


def textbook_cycles(n: int, k: int, m: int, array: SystolicArray) -> int:
    """Return the cycles of an [n, k] x [k, m] product: folds times `2R + C + T - 2`.

    `R` cycles load the stationary operand (output-stationary: drain the results), and `T + R + C
    - 2` stream the other operands through the skewed array.

    >>> textbook_cycles(n=10, k=4, m=4, array=SystolicArray(4, 4))
    20
    >>> textbook_cycles(n=10, k=5, m=4, array=SystolicArray(4, 4))
    40
    """
    down, across, streamed = {"ws": (k, m, n), "os": (n, m, k), "is": (k, n, m)}[array.dataflow]
    folds = math.ceil(down / array.rows) * math.ceil(across / array.cols)
    return folds * (2 * array.rows + array.cols + streamed - 2)


def simulate(
    inputs: NDArray[Any], weights: NDArray[Any], array: SystolicArray, faults: ArrayFaults
) -> CycleRun:
    """Multiply [n, k] by [k, m], cycle by cycle; the result of `gemm`, slowly.

    Raises:
        EfatError: Operands of other types or shapes than `gemm` takes, or faults of another array.
    """
    check_fault_map(array, faults.bypassed)
    check_operands(faults, inputs, weights)
    kind = np.float64 if inputs.dtype == np.float64 else np.int64
    x, w = inputs.astype(kind), weights.astype(kind)
    if array.dataflow == "os":
        out, cycles = _run_output_stationary(x, w, faults)
    elif array.dataflow == "ws":
        out, cycles = _run_stationary(x, w, faults, "input", "weight")
    else:
        out, cycles = _run_stationary(w.T, x.T, faults, "weight", "input")
        out = out.T
    return CycleRun(out if kind is np.float64 else out.astype(np.int32), cycles)


def _run_stationary(
    moving: NDArray[Any], fixed: NDArray[Any], faults: ArrayFaults, moving_site: Site, held: Site
) -> tuple[NDArray[Any], int]:
    rows, cols = faults.bypassed.shape
    out, cycles = np.zeros((len(moving), fixed.shape[1]), moving.dtype), 0
    for k in range(0, len(fixed), rows):
        for j in range(0, fixed.shape[1], cols):
            tile = np.zeros((rows, cols), fixed.dtype)
            part = fixed[k : k + rows, j : j + cols]
            tile[: part.shape[0], : part.shape[1]] = part
            fed = np.zeros((len(moving), rows), moving.dtype)
            fed[:, : part.shape[0]] = moving[:, k : k + rows]
            result, taken = _stationary_fold(
                fed, _force_bits(tile, faults, held), faults, moving_site
            )
            out[:, j : j + cols] += result[:, : part.shape[1]]
            cycles += rows + taken  # a row of the tile is loaded per cycle, over its own path
    return out, cycles


def _stationary_fold(
    fed: NDArray[Any], held: NDArray[Any], faults: ArrayFaults, moving_site: Site
) -> tuple[NDArray[Any], int]:
    """Stream `fed` [t, rows] past `held` [rows, cols]; return [t, cols] and the cycles."""
    (rows, cols), steps = held.shape, len(fed)
    bypassed = faults.bypassed.faulty
    operand, psum = np.zeros_like(held), np.zeros_like(held)
    out = np.zeros((steps, cols), fed.dtype)
    cycles = steps + rows + cols - 2
    for cycle in range(cycles):
        entering = [
            fed[cycle - r, r] if 0 <= cycle - r < steps else 0 for r in range(rows)
        ]  # row r starts r cycles late, in step with the partial sums
        operand = np.column_stack([entering, operand[:, :-1]])
        # All registers latch at once; a forced one passes its word on.
        operand = _force_bits(operand, faults, moving_site)
        from_above = np.vstack([np.zeros((1, cols), psum.dtype), psum[:-1]])
        added = _force_bits(
            from_above + _force_bits(operand * held, faults, "product"), faults, "psum"
        )
        psum = np.where(bypassed, from_above, added)
        for c in range(cols):
            t = cycle - (rows - 1) - c
            if 0 <= t < steps:
                out[t, c] = psum[-1, c]
    return out, cycles


def _run_output_stationary(
    x: NDArray[Any], w: NDArray[Any], faults: ArrayFaults
) -> tuple[NDArray[Any], int]:
    rows, cols = faults.bypassed.shape
    out, cycles = np.zeros((len(x), w.shape[1]), x.dtype), 0
    for n in range(0, len(x), rows):
        for m in range(0, w.shape[1], cols):
            left, top = x[n : n + rows], w[:, m : m + cols]
            result, taken = _output_fold(left, top, faults)
            out[n : n + rows, m : m + cols] = result[: len(left), : top.shape[1]]
            cycles += taken + rows  # a row of results is read per cycle, over its own path
    return out, cycles


def _output_fold(
    left: NDArray[Any], top: NDArray[Any], faults: ArrayFaults
) -> tuple[NDArray[Any], int]:
    """Accumulate `left` [<=rows, k] times `top` [k, <=cols] in place, [rows, cols]."""
    (rows, cols), steps = faults.bypassed.shape, left.shape[1]
    a, b = (np.zeros((rows, cols), left.dtype) for _ in range(2))
    total = _force_bits(np.zeros((rows, cols), left.dtype), faults, "psum")
    cycles = steps + rows + cols - 2
    for cycle in range(cycles):
        enter_a = [
            left[r, cycle - r] if r < len(left) and 0 <= cycle - r < steps else 0
            for r in range(rows)
        ]
        enter_b = [
            top[cycle - c, c] if c < top.shape[1] and 0 <= cycle - c < steps else 0
            for c in range(cols)
        ]
        a = _force_bits(np.column_stack([enter_a, a[:, :-1]]), faults, "input")
        b = _force_bits(np.vstack([enter_b, b[:-1]]), faults, "weight")
        age = cycle - np.add.outer(np.arange(rows), np.arange(cols))
        added = _force_bits(total + _force_bits(a * b, faults, "product"), faults, "psum")
        total = np.where((age >= 0) & (age < steps), added, total)  # enabled while data is valid
    return np.where(faults.bypassed.faulty, 0, total), cycles


def _force_bits(words: NDArray[Any], faults: ArrayFaults, site: Site) -> NDArray[Any]:
    """Force the stuck bits of one register, one PE and one bit at a time."""
    if words.dtype == np.float64:
        return words
    width, words = BITS[site], words.copy()
    for fault in sorted(faults.stuck):  # value 1 is last, so that it wins
        if fault.site == site and not faults.bypassed.faulty[fault.row, fault.col]:
            raw = int(words[fault.row, fault.col]) & ((1 << fault.bit) ^ -1)
            words[fault.row, fault.col] = raw | (fault.value << fault.bit)
    wrapped = words & ((1 << width) - 1)  # back into the register's range, two's complement
    return np.asarray(wrapped - ((wrapped >> (width - 1)) << width))
