"""The chip: its array, its fault map, how layers are mapped to PEs, fleets, and the emulator."""

from efat.hardware.chip import Chip, Fleet
from efat.hardware.detection import TestableArray, detect, misjudged
from efat.hardware.fault_map import FaultMap, words_needed
from efat.hardware.mapping import SystolicArray

__all__ = [
    "Chip",
    "FaultMap",
    "Fleet",
    "SystolicArray",
    "TestableArray",
    "detect",
    "misjudged",
    "words_needed",
]
