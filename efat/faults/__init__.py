"""Which PEs of a chip are faulty, and how to find out."""

from efat.faults.detection import TestableArray, detect, misjudged
from efat.faults.fault_map import FaultMap, words_needed

__all__ = ["FaultMap", "TestableArray", "detect", "misjudged", "words_needed"]
