"""What `tracking=wandb` (offline) costs a campaign: ratios of interleaved pairs of whole commands.

Processor seconds are those of the command and of every process that it started, W&B's service too:
with all cores at work they are what delays a campaign, and other load on the machine hardly moves
them, as it does the seconds of the clock.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CAMPAIGN = ("+experiment=resnet_fat", "executor.workers=2")
"""The main job: 147 trainings of 0.2 to 0.6 s each, and as many evaluations."""


@dataclass(frozen=True)
class Cost:
    """Seconds of one command."""

    processor: float
    clock: float


def measure(tracking: str) -> Cost:
    """Run the campaign from nothing and return what it cost."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "efat.run", *CAMPAIGN, f"tracking={tracking}"]
        environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
        log = Path(folder) / "out"
        begin = time.perf_counter()
        with log.open("w") as out:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
            _, status, usage = os.wait4(process.pid, 0)
        clock = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)  # reaped above
        said = log.read_text()
        if process.returncode or "tracking   failed" in said:
            raise RuntimeError(said)
        runs = len(list(Path(folder).glob("outputs/*/*/wandb/offline-run-*")))
        if (tracking == "wandb") != bool(runs):
            raise RuntimeError(f"{runs} W&B runs with tracking={tracking}")
        return Cost(usage.ru_utime + usage.ru_stime, clock)


def bench(rounds: int) -> None:
    pairs = []
    for number in range(rounds):
        order = ("none", "wandb") if number % 2 else ("wandb", "none")
        pairs.append({tracking: measure(tracking) for tracking in order})
        print(
            *(f"{name}: {cost.processor:.1f} s processor, {cost.clock:.1f} s clock;"
              for name, cost in sorted(pairs[-1].items())), flush=True,
        )  # fmt: skip
    for kind in ("processor", "clock"):
        ratios = [getattr(p["wandb"], kind) / getattr(p["none"], kind) for p in pairs]
        print(f"wandb over none, {kind}: median {statistics.median(ratios):.3f} "
              f"({min(ratios):.3f}-{max(ratios):.3f}), {rounds} pairs")  # fmt: skip


if __name__ == "__main__":
    bench(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
