"""Misses and false alarms of detection on an emulated 256x256 array.

python experiments/2026-11-22-detection-256/run.py
"""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import get_args

import numpy as np

from efat.hardware import Dataflow, SystolicArray, detect, misjudged
from efat.hardware.emulation import ArrayFaults, EmulatedTester, StuckAt
from efat.hardware.emulation.stuck_at import WORD, Site
from efat.seeds import generator

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
    with (HERE / "results.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["dataflow", "faulty_pes", "seed", "misses", "false_alarms", "elapsed_s"])
        for dataflow in get_args(Dataflow):
            for count in COUNTS:
                for seed in range(SEEDS):
                    faults = draw(seed, count)
                    chip = EmulatedTester(SystolicArray(SIDE, SIDE, dataflow=dataflow), faults)
                    began = time.perf_counter()
                    wrong = misjudged(detect(chip), faults.fault_map)
                    taken = f"{time.perf_counter() - began:.1f}"
                    rows.writerow([dataflow, count, seed, *wrong, taken])
                    file.flush()
                    print(dataflow, count, seed, *wrong, taken, flush=True)


if __name__ == "__main__":
    main()
