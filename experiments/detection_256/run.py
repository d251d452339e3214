"""Misses and false alarms of detection on an emulated 256x256 array."""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np

from efat.hardware import Dataflow, SystolicArray, detect, misjudged
from efat.hardware.emulation import ArrayFaults, EmulatedTester, StuckAt
from efat.hardware.emulation.stuck_at import WORD, Site
from efat.seeds import generator
from experiments.records import write

HERE = Path(__file__).parent
SIDE, COUNTS, SEEDS = 256, (8, 64), 3


def draw(seed: int, count: int) -> ArrayFaults:
    """Draw a chip with `count` stuck bits, any register and bit, all in different PEs."""
    rng = generator(seed, "detection", count)
    stuck = []
    for place in rng.choice(SIDE * SIDE, count, replace=False):
        site = get_args(Site)[rng.integers(4)]
        bit, value = int(rng.integers(np.iinfo(WORD[site]).bits)), int(rng.integers(2))
        stuck.append(StuckAt(int(place // SIDE), int(place % SIDE), site, bit, value))
    return ArrayFaults.undetected(SIDE, SIDE, stuck)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = []
    for dataflow, count, seed in product(get_args(Dataflow), COUNTS, range(SEEDS)):
        faults = draw(seed, count)
        chip = EmulatedTester(SystolicArray(SIDE, SIDE, dataflow=dataflow), faults)
        began = time.perf_counter()
        misses, false_alarms = misjudged(detect(chip), faults.fault_map)
        rows.append({
            "dataflow": dataflow, "faulty_pes": count, "seed": seed, "misses": misses,
            "false_alarms": false_alarms, "elapsed_s": f"{time.perf_counter() - began:.1f}",
        })  # fmt: skip
        print(*rows[-1].values(), flush=True)
        write(HERE / "results.csv", rows)
