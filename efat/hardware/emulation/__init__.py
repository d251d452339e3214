"""Functional simulator of the systolic array, with bypassed PEs and stuck bits."""

from efat.hardware.emulation.cycles import CycleRun, simulate, textbook_cycles
from efat.hardware.emulation.gemm import gemm, multiply
from efat.hardware.emulation.stuck_at import ArrayFaults, StuckAt
from efat.hardware.emulation.tester import EmulatedTester

__all__ = [
    "ArrayFaults",
    "CycleRun",
    "EmulatedTester",
    "StuckAt",
    "gemm",
    "multiply",
    "simulate",
    "textbook_cycles",
]
