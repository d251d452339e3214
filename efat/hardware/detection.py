"""Find the faulty PEs of a chip by test vectors, row by row and column by column.

The chip needs what fault-aware pruning needs anyway (Zhang et al., VTS 2018): a bypass for each PE,
set from outside. With every other row bypassed a column's output is one PE's doing, but for an
operand that a PE further left handed on wrongly. So in each row the leftmost PE that looks faulty
is faulty; it is bypassed and the row tested again, column by column, until nothing looks faulty.
Stuck-at faults in operand, product and partial-sum registers are all found: the vectors put 0 and 1
on every bit of every register.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from efat.errors import EfatError
from efat.hardware.fault_map import FaultMap

TEST_VALUES = (0, -1, 1)
"""Operand values: 0 has no bit set, -1 every bit, and 1 lets the other operand through."""


class TestableArray(Protocol):
    """A chip on the tester: runs a matrix product with chosen PEs bypassed."""

    __test__: ClassVar[bool] = False  # not a test class, whatever pytest makes of its name

    @property
    def rows(self) -> int:
        """Rows of PEs."""
        ...

    @property
    def cols(self) -> int:
        """Columns of PEs."""
        ...

    @property
    def dataflow(self) -> Literal["ws", "os", "is"]:
        """What stays in a PE: weights, outputs or inputs."""
        ...

    def multiply(
        self, inputs: NDArray[np.int8], weights: NDArray[np.int8], bypassed: FaultMap
    ) -> NDArray[np.int32]:
        """Return `inputs` [n, k] times `weights` [k, m] as the chip computes it, [n, m]."""
        ...


def detect(array: TestableArray) -> FaultMap:
    """Find the faulty PEs of a chip.

    Exact for any set of stuck-at faults whose bypasses work: no miss, no false alarm. Takes 9
    products for each row and 9 more for each faulty PE.

    Args:
        array: The chip.

    Returns:
        Its fault map.

    Raises:
        EfatError: The chip answers in a wrong shape.
    """
    faulty = np.zeros((array.rows, array.cols), dtype=np.bool_)
    for row in range(array.rows):
        active = np.zeros_like(faulty)
        active[row] = True
        while (suspects := _disagrees(array, active)[row]).any():
            leftmost = int(suspects.argmax())
            faulty[row, leftmost], active[row, leftmost] = True, False
    return FaultMap(faulty)


def misjudged(found: FaultMap, true: FaultMap) -> tuple[int, int]:
    """Count the misses (faulty, not found) and the false alarms (found, not faulty).

    >>> misjudged(FaultMap([[True, False]]), FaultMap([[False, True]]))
    (1, 1)
    """
    either = (found | true).fault_count
    return either - found.fault_count, either - true.fault_count


def _disagrees(array: TestableArray, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return, for PEs of the one active row, whether any test vector gave a wrong answer."""
    bypassed = FaultMap(~active)
    wrong = np.zeros_like(active)
    for inputs, weights, expected in _test_vectors(array):
        answer = array.multiply(inputs, weights, bypassed)
        if answer.shape != (len(inputs), weights.shape[1]):
            raise EfatError(
                f"detect: the chip answered {answer.shape} to a product of "
                f"{inputs.shape} and {weights.shape}; [n, m] is needed"
            )
        wrong |= _per_pe(array.dataflow, answer) != expected
    return wrong & active


def _test_vectors(
    array: TestableArray,
) -> Iterator[tuple[NDArray[np.int8], NDArray[np.int8], int]]:
    """Yield constant operands that fill the array once, and what a healthy PE makes of them."""
    n, k, m = {
        "ws": (1, array.rows, array.cols),
        "os": (array.rows, 1, array.cols),
        "is": (array.cols, array.rows, 1),
    }[array.dataflow]
    for x, w in product(TEST_VALUES, TEST_VALUES):
        yield np.full((n, k), x, dtype=np.int8), np.full((k, m), w, dtype=np.int8), x * w


def _per_pe(dataflow: str, answer: NDArray[np.int32]) -> NDArray[np.int32]:
    """Turn outputs into something that broadcasts to [rows, cols]: `os` keeps rows apart."""
    return answer.T if dataflow == "is" else answer
