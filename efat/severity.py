"""How badly a fault map hurts: the x axis of the resilience map (METHOD section 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from efat.faults import FaultMap
from efat.mapping import SystolicArray, WeightLayout, weights_per_pe

Severity = Callable[[FaultMap], float]


def array_rate(fault_map: FaultMap) -> float:
    """Return the share of the array's PEs that are faulty, in [0, 1]."""
    return fault_map.fault_rate


def weight_rate(layouts: Iterable[WeightLayout], array: SystolicArray) -> Severity:
    """Build the measure "share of the model's mapped weights that the map prunes", in [0, 1].

    A small network does not use the whole array, and then the array rate misleads.

    >>> measure = weight_rate([WeightLayout((1, 2))], SystolicArray(2, 2))
    >>> measure(FaultMap([[True, True], [False, True]]))
    0.5
    """
    per_pe = np.sum([weights_per_pe(layout, array) for layout in layouts], axis=0)
    total = per_pe.sum()
    return lambda fault_map: float(per_pe[fault_map.faulty].sum() / total)
