"""What `tracking=wandb` (offline) costs a campaign: ratios of interleaved pairs of runs."""

import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from efat.run import main

SMALL = (
    "+experiment=resnet_fat", "baseline.epochs=2", "fault_rates.rates=[0.05,0.3,0.5]",
    "fault_rates.maps_per_rate=4", "fleet.chips=10", "selection.max_drop=0.05",
    "compare=[none,individual]", "executor.workers=2",
)  # fmt: skip


def seconds(tracking: str) -> float:
    folder = Path(tempfile.mkdtemp())  # kept: worker processes stay where they began
    os.chdir(folder)
    sys.argv = ["efat", *SMALL, f"tracking={tracking}"]
    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main()
    if status or "tracking   failed" in out.getvalue():
        raise RuntimeError(out.getvalue())
    return time.perf_counter() - begin


def bench(rounds: int = 6) -> None:
    seconds("wandb")  # imports, and W&B's service, which runs once a process
    pairs = []
    for number in range(rounds):
        order = ("none", "wandb") if number % 2 else ("wandb", "none")
        taken = {tracking: seconds(tracking) for tracking in order}
        pairs.append(taken)
        print({name: round(value, 2) for name, value in taken.items()}, flush=True)
    ratios = sorted(pair["wandb"] / pair["none"] for pair in pairs)
    print(f"wandb over none: median {statistics.median(ratios):.3f} "
          f"({ratios[0]:.3f}-{ratios[-1]:.3f}), {rounds} pairs")  # fmt: skip


if __name__ == "__main__":
    bench()
