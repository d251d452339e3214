"""Peak memory and time of loading large fleets; each load in a process of its own."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from efat.hardware import SystolicArray
from efat.hardware.fleets import load_fleet, save_fleet, uniform_fleet
from experiments import records

HERE = Path(__file__).parent
ARRAY = SystolicArray(256, 256)
CASES = (("npz", 100_000, 0.01), ("npy", 10_000, 0.01), ("csv", 100_000, 0.0005))


def write(path: Path, chips: int, rate: float) -> None:
    """Write a fleet of `chips` uniform chips in the format of the suffix."""
    fleet = uniform_fleet(ARRAY, 0, chips, rate)
    if path.suffix == ".npz":
        save_fleet(fleet, path)
    elif path.suffix == ".npy":
        shape = (chips, ARRAY.rows, ARRAY.cols)
        stack = np.lib.format.open_memmap(path, mode="w+", dtype=np.bool_, shape=shape)
        for i, chip in enumerate(fleet):
            stack[i] = chip.fault_map.faulty
    else:
        with path.open("w") as file:
            file.write("chip_id,row,col\n")
            for chip in fleet:
                places = np.argwhere(chip.fault_map.faulty).tolist()
                file.writelines(f"{chip.chip_id},{row},{col}\n" for row, col in places)


def load(path: Path) -> None:
    """Load a fleet; print chips, seconds, and the peak before and after in MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    fleet = load_fleet(path, ARRAY)
    taken = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(len(fleet), f"{taken:.1f}", f"{before:.0f}", f"{after:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="scratch space, 2 GB")
    parser.add_argument("--write", nargs=2, metavar=("CHIPS", "RATE"))
    parser.add_argument("--file", type=Path, help="of one process: a fleet to write or to load")
    args = parser.parse_args()
    if args.file and args.write:
        write(args.file, int(args.write[0]), float(args.write[1]))
    elif args.file:
        load(args.file)
    else:
        measure(args.folder)


def measure(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for suffix, chips, rate in CASES:
        path = folder / f"fleet.{suffix}"
        command = [sys.executable, "-m", "experiments.fleet_memory", "run"]
        command += ["--folder", str(folder), "--file", str(path)]
        subprocess.run([*command, "--write", str(chips), str(rate)], check=True)
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        count, load_s, start_mb, peak_mb = result.stdout.split()
        rows.append({
            "format": suffix, "chips": count, "fault_rate": rate,
            "file_mb": f"{path.stat().st_size / 2**20:.0f}", "load_s": load_s,
            "start_mb": start_mb, "peak_mb": peak_mb,
        })  # fmt: skip
        path.unlink()
    records.write(HERE / "results.csv", rows)
