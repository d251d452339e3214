"""Find the faulty PEs of a chip by test vectors, row by row and column by column.

The chip needs a bypass for each PE, set from outside, as fault-aware pruning does (Zhang et al.,
VTS 2018). With every other row bypassed, the output of a column depends on one PE, except for an
operand that a PE further left changed. So in each row the leftmost PE with a wrong output is
faulty; it is bypassed and the row is tested again, until all outputs are right. The test detects
stuck-at faults in operand, product and partial-sum registers: its vectors put 0 and 1 on every bit
of every register.
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
"""Operand values: 0 sets no bit, -1 sets every bit, and 1 passes the other operand."""


class TestableArray(Protocol):
    """A chip on a tester, which runs matrix products with chosen PEs bypassed."""

    __test__: ClassVar[bool] = False  # no test class for pytest

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
        """The operand that stays in a PE: weights, outputs or inputs."""
        ...

    def multiply(
        self, inputs: NDArray[np.int8], weights: NDArray[np.int8], bypassed: FaultMap
    ) -> NDArray[np.int32]:
        """Return `inputs` [n, k] times `weights` [k, m] as the chip computes it, [n, m]."""
        ...


def detect(array: TestableArray) -> FaultMap:
    """Find the faulty PEs of a chip.

    Exact for any set of stuck-at faults whose bypasses work: no miss, no false alarm. It takes 9
    products per row and 9 more per faulty PE.

    Args:
        array: The chip.

    Returns:
        Its fault map.

    Raises:
        EfatError: A product of a wrong shape.
    """
    faulty = np.zeros((array.rows, array.cols), dtype=np.bool_)
    for row in range(array.rows):
        active = np.zeros_like(faulty)
        active[row] = True
        while (suspects := _disagrees(array, active)[row]).any():
            leftmost = int(suspects.argmax())
            faulty[row, leftmost], active[row, leftmost] = True, False
    return FaultMap(faulty)


def misjudged(detected: FaultMap, true: FaultMap) -> tuple[int, int]:
    """Return the number of misses (faulty, not detected) and of false alarms.

    >>> misjudged(FaultMap([[True, False]]), FaultMap([[False, True]]))
    (1, 1)
    """
    either = (detected | true).fault_count
    return either - detected.fault_count, either - true.fault_count


def _disagrees(array: TestableArray, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the PEs of the one active row with a wrong output for any test vector."""
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
    """Yield constant operands that fill the array once, and the output of a healthy PE."""
    n, k, m = {
        "ws": (1, array.rows, array.cols),
        "os": (array.rows, 1, array.cols),
        "is": (array.cols, array.rows, 1),
    }[array.dataflow]
    for x, w in product(TEST_VALUES, TEST_VALUES):
        yield np.full((n, k), x, dtype=np.int8), np.full((k, m), w, dtype=np.int8), x * w


def _per_pe(dataflow: str, answer: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return outputs in a shape that broadcasts to [rows, cols]; `os` has one row per PE row."""
    return answer.T if dataflow == "is" else answer
