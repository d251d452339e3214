"""The chip: its array, fault map, mapping of weights onto PEs, detection, fleets and emulator.

NumPy only; imports `errors`, `io` and `seeds`.
"""

from efat.hardware.chip import Chip, Fleet
from efat.hardware.detection import TestableArray, detect, misjudged
from efat.hardware.fault_map import FaultMap, words_needed
from efat.hardware.mapping import (
    Dataflow,
    Placement,
    Slots,
    SystolicArray,
    WeightLayout,
    check_fault_map,
    gemm_indices,
    pruned_weights,
    reduction_index,
    slot_count,
    slot_problems,
    sum_per_pe,
)

__all__ = [
    "Chip",
    "Dataflow",
    "FaultMap",
    "Fleet",
    "Placement",
    "Slots",
    "SystolicArray",
    "TestableArray",
    "WeightLayout",
    "check_fault_map",
    "detect",
    "gemm_indices",
    "misjudged",
    "pruned_weights",
    "reduction_index",
    "slot_count",
    "slot_problems",
    "sum_per_pe",
    "words_needed",
]
