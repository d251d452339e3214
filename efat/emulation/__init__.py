"""Functional simulator of the systolic array: what a faulty chip really computes."""

from efat.emulation.cycles import CycleRun, simulate, textbook_cycles
from efat.emulation.faults import ArrayFaults, StuckAt
from efat.emulation.gemm import gemm, multiply
from efat.emulation.model import LayerScales, calibrate, emulate
from efat.emulation.tested import TestedChip

__all__ = [
    "ArrayFaults",
    "CycleRun",
    "LayerScales",
    "StuckAt",
    "TestedChip",
    "calibrate",
    "emulate",
    "gemm",
    "multiply",
    "simulate",
    "textbook_cycles",
]
