"""How fast the emulation is, in multiply-accumulate operations a second."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import get_args

import numpy as np

from efat.hardware import Dataflow, FaultMap, SystolicArray
from efat.hardware.emulation import ArrayFaults, StuckAt, multiply
from efat.seeds import generator

IMAGES, POSITIONS, CHANNELS, TAPS, OUTPUTS = 16, 16 * 16, 32, 9, 32
"""The products of a layer of ResNet-20's second stage, for a small batch."""


@dataclass(frozen=True)
class Speed:
    """Speed of one kind of emulation, best of some repeats."""

    dataflow: str
    faults: str
    macs_per_s: float


def measure_speed(side: int = 256, repeats: int = 3) -> list[Speed]:
    """Time a ResNet-20 layer in int8 on a `side` x `side` array, for each dataflow and fault.

    Args:
        side: Rows and columns of the array.
        repeats: Runs of each kind; the best counts.
    """
    rng = generator(0, "bench")
    n = IMAGES * POSITIONS
    inputs = rng.integers(-127, 128, (1, n, CHANNELS, TAPS)).astype(np.int8)
    weights = rng.integers(-127, 128, (1, CHANNELS, TAPS, OUTPUTS)).astype(np.int8)
    stuck = [StuckAt(i * side // 8, i * OUTPUTS // 8 % side, "psum", 30, 1) for i in range(8)]
    chips = {
        "bypassed 10 %": ArrayFaults(FaultMap(rng.random((side, side)) < 0.1)),
        "8 PEs with a stuck partial sum": ArrayFaults.undetected(side, side, stuck),
    }
    speeds = []
    for dataflow in get_args(Dataflow):
        for name, faults in chips.items():
            array = SystolicArray(side, side, dataflow=dataflow)
            taken = min(_timed(inputs, weights, array, faults) for _ in range(repeats))
            speeds.append(Speed(dataflow, name, n * CHANNELS * TAPS * OUTPUTS / taken))
    return speeds


def speed_table(speeds: list[Speed]) -> str:
    """Return the speeds as lines of text."""
    return "\n".join(
        f"emulation {s.dataflow}  {s.faults:32s} {s.macs_per_s / 1e9:8.2f} GMAC/s" for s in speeds
    )


def _timed(
    inputs: np.ndarray[tuple[int, ...], np.dtype[np.int8]],
    weights: np.ndarray[tuple[int, ...], np.dtype[np.int8]],
    array: SystolicArray,
    faults: ArrayFaults,
) -> float:
    began = time.perf_counter()
    multiply(inputs, weights, array, faults)
    return time.perf_counter() - began


def main() -> None:
    print(speed_table(measure_speed()))
