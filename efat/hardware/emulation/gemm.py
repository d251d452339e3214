"""Matrix products as a faulty systolic array computes them, fast and exact.

Integers are int8 x int8 to an int16 product, added to an int32 partial sum that wraps around
(two's complement, modulo 2**32); every fold of the reduction starts from a partial sum of 0, and
folds are added below the array in int32 that wraps too. Rows and columns of a fold beyond the
matrix are fed zeros, and partial sums pass through all rows, so a stuck bit there counts as well.

Only the PEs with stuck bits are computed one by one. All else is a plain matrix product in floating
point, which is exact because every sum stays below 2**24 (float32) or 2**53 (float64).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from efat.hardware.emulation.stuck_at import ArrayFaults, BitForce, Integers, Site, check_operands
from efat.hardware.mapping import Slots, SystolicArray, check_fault_map, slot_count

Operand = NDArray[Any]
FLOAT32_EXACT = 2**24 // 2**14
"""Products of int8 are at most 2**14, so this many of them add up exactly in float32."""


def gemm(
    inputs: Operand, weights: Operand, array: SystolicArray, faults: ArrayFaults
) -> NDArray[Any]:
    """Multiply two matrices on the array, by its dataflow.

    Args:
        inputs: int8 or float64 [n, k].
        weights: The same type, [k, m].
        array: The array; its order is not used, `k` is a plain index.
        faults: Faults of the chip; float64 allows bypasses only.

    Returns:
        [n, m], int32 for int8 operands, else float64.

    Raises:
        EfatError: Operands of other types or shapes, or faults of another array.

    >>> chip = ArrayFaults.undetected(2, 2, [])
    >>> a, b = np.array([[1, 2, 3]], np.int8), np.array([[1], [10], [100]], np.int8)
    >>> gemm(a, b, SystolicArray(2, 2), chip).tolist()
    [[321]]
    """
    check_fault_map(array, faults.bypassed)
    check_operands(faults, inputs, weights)
    if array.dataflow == "os":
        return _output_stationary(inputs, weights, faults)
    if array.dataflow == "is":
        return np.asarray(_stationary(weights.T, inputs.T, faults, "weight", "input").T)
    return _stationary(inputs, weights, faults, "input", "weight")


def multiply(
    inputs: Operand,
    weights: Operand,
    array: SystolicArray,
    faults: ArrayFaults,
    slots: Slots | None = None,
) -> NDArray[Any]:
    """Run a layer's products: `X[g, n, i, t]` and `W[g, i, t, m]` (see `efat.nn.lowering`).

    The order of the array says how `i` and `t` make up `k`. With `channel` order each tap is a
    product of its own on the same PEs; output-stationary, the partial sums stay from tap to tap.
    With `slots` weights are loaded into the rows and columns of their slots, inputs are streamed
    into the rows of theirs, results are read from the columns, and empty slots hold zeros. Only
    addresses change, and with them the order in which a column adds.

    Returns:
        `Y[g, n, m]`, as `gemm`.
    """
    groups, n, i, taps = inputs.shape
    if array.order == "channel" and array.dataflow != "os":
        out = sum(
            _placed(inputs[:, :, :, t], weights[:, :, t], array, faults, slots) for t in range(taps)
        )
        return np.asarray(out)
    if array.order != "im2col":
        inputs, weights = inputs.swapaxes(2, 3), weights.swapaxes(1, 2)
    x, w = inputs.reshape(groups, n, i * taps), weights.reshape(groups, i * taps, -1)
    return _placed(x, w, array, faults, slots)


def _placed(
    inputs: Operand,
    weights: Operand,
    array: SystolicArray,
    faults: ArrayFaults,
    slots: Slots | None,
) -> NDArray[Any]:
    """Multiply `X[g, n, k]` and `W[g, k, m]` in their slots."""
    if slots is None:
        return _grouped(inputs, weights, array, faults)
    columns = slots.columns[:, None, :]
    weights = _spread(weights, columns, array.cols, axis=2)
    if slots.rows is not None:
        inputs = _spread(inputs, slots.rows[:, None, :], array.rows, axis=2)
        weights = _spread(weights, slots.rows[:, :, None], array.rows, axis=1)
    return np.take_along_axis(_grouped(inputs, weights, array, faults), columns, axis=2)


def _spread(operand: Operand, slots: NDArray[np.intp], side: int, axis: int) -> Operand:
    """Put an operand's slices into their slots along an axis, zeros between them."""
    shape = list(operand.shape)
    shape[axis] = slot_count(shape[axis], side)
    spread = np.zeros(shape, operand.dtype)
    np.put_along_axis(spread, slots, operand, axis=axis)
    return spread


def _grouped(
    inputs: Operand, weights: Operand, array: SystolicArray, faults: ArrayFaults
) -> NDArray[Any]:
    return np.stack([gemm(x, w, array, faults) for x, w in zip(inputs, weights, strict=True)])


def _stationary(
    moving: Operand, fixed: Operand, faults: ArrayFaults, moving_site: Site, fixed_site: Site
) -> NDArray[Any]:
    """Multiply `moving` [t, k] by `fixed` [k, j], where `fixed[k, j]` is on PE(k % R, j % C).

    Partial sums go down the columns; `moving` operands go along the rows.
    """
    rows, cols = faults.bypassed.shape
    col = np.arange(fixed.shape[1]) % cols
    out = np.zeros((len(moving), fixed.shape[1]), _sum_type(moving))
    for start in range(0, fixed.shape[0], rows):
        tile, held = moving[:, start : start + rows], fixed[start : start + rows]
        row = np.arange(len(held))
        if faults.stuck:
            tile, held, row = _with_faulty_rows(tile, held, faults)
            held = faults.force(fixed_site).apply(row[:, None], col, held)
        held = np.where(faults.bypassed.faulty[row[:, None], col], 0, held)
        exact = _to_exact_float(tile, tile.shape[1])  # once: the loop below uses it again
        fold = exact @ _to_exact_float(held, len(held))
        fold = fold if tile.dtype == np.float64 else _wrap_int32(fold)
        if faults.stuck:
            streamed = faults.streamed(moving_site, axis=1)
            _add_operand_errors(fold, tile, held, row, col, streamed)
            for c in _forced_columns(faults):
                same = np.flatnonzero(col == c)
                fed, exact_fed = tile, exact
                if np.any(streamed.active[row, c]):
                    fed = streamed.apply(row, c, tile)
                    exact_fed = _to_exact_float(fed, fed.shape[1])
                fold[:, same] = _accumulate_down(fed, exact_fed, held[:, same], row, c, faults)
        out += fold  # int32 wraps around
    return out


def _with_faulty_rows(
    tile: Operand, held: Operand, faults: ArrayFaults
) -> tuple[Operand, Operand, NDArray[np.intp]]:
    """Append the rows that the tile does not use but in which a bit is stuck; zeros enter them."""
    used = len(held)
    extra = sorted({fault.row for fault in faults.stuck if fault.row >= used})
    row = np.array([*range(used), *extra], dtype=np.intp)
    tile = np.pad(tile, ((0, 0), (0, len(extra))))
    return tile, np.pad(held, ((0, len(extra)), (0, 0))), row


def _add_operand_errors(
    fold: Operand,
    tile: Operand,
    held: Operand,
    row: NDArray[np.intp],
    col: NDArray[np.intp],
    streamed: BitForce,
) -> None:
    """Add to `fold`, in place, the errors of operands that a stuck bit changed on their way."""
    for place in np.flatnonzero(streamed.active[row].any(axis=1)):
        r = row[place]
        masks = np.stack([streamed.and_mask[r, col], streamed.or_mask[r, col]])
        for and_mask, or_mask in {(a, o) for a, o in masks.T.tolist()} - {(-1, 0)}:
            columns = np.flatnonzero((masks[0] == and_mask) & (masks[1] == or_mask))
            word = tile[:, place]
            change = ((word & np.int8(and_mask)) | np.int8(or_mask)).astype(np.int32) - word
            fold[:, columns] += np.outer(change, held[place, columns].astype(np.int32))


def _forced_columns(faults: ArrayFaults) -> NDArray[np.intp]:
    """Return the columns in which a product or a partial sum is forced."""
    forced = faults.force("product").active | faults.force("psum").active
    return np.flatnonzero(forced.any(axis=0))


def _accumulate_down(
    tile: Operand,
    exact: Operand,
    held: Operand,
    row: NDArray[np.intp],
    c: int,
    faults: ArrayFaults,
) -> Integers:
    """Accumulate partial sums down column `c`, from one PE with a forced register to the next.

    The rows between are a plain product; all these products are computed at once, from `exact`, the
    tile in floating point.
    """
    product, psum = faults.force("product"), faults.force("psum")
    stops = np.flatnonzero((product.active | psum.active)[row, c])
    segment = np.searchsorted(stops, np.arange(len(held)))
    segment[stops] = -1
    between = [np.where((segment == s)[:, None], held, 0) for s in range(len(stops) + 1)]
    sums = _wrap_int32(exact @ _to_exact_float(np.hstack(between), len(held)))
    first, *rest = np.split(sums, len(between), axis=1)
    total = first
    for place, following in zip(stops, rest, strict=True):
        one = np.outer(tile[:, place].astype(np.int16), held[place].astype(np.int16))
        total = psum.apply(row[place], c, total + product.apply(row[place], c, one))
        total = total + following
    return np.asarray(total)


def _output_stationary(inputs: Operand, weights: Operand, faults: ArrayFaults) -> NDArray[Any]:
    """Multiply where `out[n, m]` accumulates on PE(n % R, m % C) and is read over its own path.

    Inputs go along the rows and weights down the columns, each passed on from PE to PE.
    """
    rows, cols = faults.bypassed.shape
    out = matmul(inputs, weights)
    row, col = np.arange(len(out)) % rows, np.arange(out.shape[1]) % cols
    if faults.stuck:
        x_force, w_force = faults.streamed("input", axis=1), faults.streamed("weight", axis=0)
        forced = faults.force("product").active | faults.force("psum").active
        for r, c in np.argwhere(x_force.active | w_force.active | forced):
            n, m = np.flatnonzero(row == r), np.flatnonzero(col == c)
            if n.size and m.size:
                x, w = x_force.apply(r, c, inputs[n]), w_force.apply(r, c, weights[:, m])
                out[np.ix_(n, m)] = (
                    _accumulate(x, w, r, c, faults) if forced[r, c] else matmul(x, w)
                )
    out[faults.bypassed.faulty[row[:, None], col]] = 0
    return out


def _accumulate(x: Operand, w: Operand, r: int, c: int, faults: ArrayFaults) -> Integers:
    """Add products one by one in PE(r, c), forcing its product and partial sum each time.

    The partial-sum register is cleared first; its stuck bits apply even then.
    """
    product, psum = faults.force("product"), faults.force("psum")
    total = psum.apply(r, c, np.zeros((len(x), w.shape[1]), np.int32))
    for k in range(len(w)):
        one = np.outer(x[:, k].astype(np.int16), w[k].astype(np.int16))
        total = psum.apply(r, c, total + product.apply(r, c, one)).astype(np.int32)
    return total


def matmul(a: Operand, b: Operand) -> NDArray[Any]:
    """Multiply on a fault-free array: int8 exactly, wrapped to int32; float64 unchanged.

    >>> matmul(np.full((1, 2), -128, np.int8), np.full((2, 1), -128, np.int8)).tolist()
    [[32768]]
    """
    out = _to_exact_float(a, len(b)) @ _to_exact_float(b, len(b))
    return np.asarray(out) if a.dtype == np.float64 else _wrap_int32(out)


def _to_exact_float(words: Operand, terms: int) -> Operand:
    """Return words in the floating point in which `terms` products add up exactly."""
    exact = np.float32 if words.dtype == np.int8 and terms <= FLOAT32_EXACT else np.float64
    return words.astype(exact)


def _wrap_int32(sums: Operand) -> NDArray[np.int32]:
    """Return exact sums as int32, modulo 2**32."""
    if sums.dtype == np.float64:
        sums = sums.astype(np.int64)
    return sums.astype(np.int32)


def _sum_type(operand: Operand) -> Any:
    return np.float64 if operand.dtype == np.float64 else np.int32
