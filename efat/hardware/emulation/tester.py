"""An emulated chip on the tester, for `efat.hardware.detect`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efat.hardware.emulation.gemm import gemm
from efat.hardware.emulation.stuck_at import ArrayFaults
from efat.hardware.fault_map import FaultMap
from efat.hardware.mapping import Dataflow, SystolicArray


@dataclass(frozen=True)
class EmulatedTester:
    """A chip with faults unknown to the tester; see `efat.hardware.TestableArray`.

    Args:
        array: Its array.
        faults: Its faults.
    """

    __test__ = False  # no test class for pytest

    array: SystolicArray
    faults: ArrayFaults

    @property
    def rows(self) -> int:
        """Rows of PEs."""
        return self.array.rows

    @property
    def cols(self) -> int:
        """Columns of PEs."""
        return self.array.cols

    @property
    def dataflow(self) -> Dataflow:
        """The operand that stays in a PE."""
        return self.array.dataflow

    def multiply(
        self, inputs: NDArray[np.int8], weights: NDArray[np.int8], bypassed: FaultMap
    ) -> NDArray[Any]:
        """Return `inputs` [n, k] times `weights` [k, m] with more PEs bypassed, [n, m]."""
        return gemm(inputs, weights, self.array, self.faults.mitigated(bypassed))
