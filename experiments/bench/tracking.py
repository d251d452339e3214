"""What `tracking=wandb` (offline) costs a campaign, in interleaved pairs of whole commands.

Two measures. *Share*: processor seconds of W&B's own part (the thread that logs, W&B's thread and
its service) over those of the campaign without it. *Ratio*: all processor seconds, or seconds of
the clock, with W&B over those without; it would also find what the share cannot see, but two
campaigns differ by several per cent by chance.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

CAMPAIGN = ("+experiment=resnet_fat", "executor.workers=2")
"""The main job: 147 trainings of 0.2 to 0.6 s each, and as many evaluations."""

PARTS = "wandb_parts.json"


@dataclass(frozen=True)
class Cost:
    """Seconds of one command; `part`: processor seconds of W&B's own part in it."""

    processor: float
    clock: float
    part: float


def measure(tracking: str) -> Cost:
    """Run the campaign from nothing and return what it cost."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "experiments.bench.tracking", "campaign", *CAMPAIGN]
        environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
        log = Path(folder) / "out"
        begin = time.perf_counter()
        with log.open("w") as out:
            process = subprocess.Popen(
                [*command, f"tracking={tracking}"], cwd=folder, env=environment, stdout=out,
                stderr=out,
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
        clock = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)  # reaped above
        printed = log.read_text()
        if process.returncode or "tracking   failed" in printed:
            raise RuntimeError(printed)
        runs = len(list(Path(folder).glob("outputs/*/*/wandb/offline-run-*")))
        if (tracking == "wandb") != bool(runs):
            raise RuntimeError(f"{runs} W&B runs with tracking={tracking}")
        parts = json.loads((Path(folder) / PARTS).read_text())
        print(f"  {tracking}: {runs} runs, seconds of W&B's parts: {parts}", flush=True)
        return Cost(usage.ru_utime + usage.ru_stime, clock, sum(parts.values()))


def campaign() -> int:
    """Run `efat.run` in this process, and leave the processor seconds of W&B's parts in a file."""
    from efat.reporting.tracking import BackgroundTracker
    from efat.run import main as run

    parts, work = {}, BackgroundTracker._work

    def timed(guard: BackgroundTracker) -> None:
        work(guard)
        parts["logging"] = time.thread_time()

    BackgroundTracker._work = timed
    status = run()
    for thread in threading.enumerate():
        if thread.name.startswith("wandb-Asyncio"):
            spent = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
            parts["thread"] = int(spent.split()[0]) / 1e9
    parts["service"] = sum(map(_service_seconds, Path("/proc").glob("[0-9]*/stat")))
    known = {name: round(seconds, 3) for name, seconds in parts.items() if seconds}
    Path(PARTS).write_text(json.dumps(known))
    return status


def _service_seconds(stat: Path) -> float:
    """Return the processor seconds of a process, and of its children, if it is W&B's service."""
    try:
        name, _, rest = stat.read_text().partition(") ")
    except OSError:  # ended meanwhile
        return 0
    fields = rest.split()
    if not name.endswith("(wandb-core") or int(fields[1]) != os.getpid():
        return 0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def main(rounds: int = 3) -> None:
    pairs = []
    for number in range(rounds):
        order = ("none", "wandb") if number % 2 else ("wandb", "none")
        pairs.append({tracking: measure(tracking) for tracking in order})
        print(
            *(f"{name}: {cost.processor:.1f} s processor, {cost.clock:.1f} s clock;"
              for name, cost in sorted(pairs[-1].items())), flush=True,
        )  # fmt: skip
    ratios = {
        "W&B's part over none, processor (share)": [
            p["wandb"].part / p["none"].processor for p in pairs
        ],
        "wandb over none, processor (ratio)": [
            p["wandb"].processor / p["none"].processor for p in pairs
        ],
        "wandb over none, clock (ratio)": [p["wandb"].clock / p["none"].clock for p in pairs],
    }
    for what, values in ratios.items():
        print(f"{what}: median {statistics.median(values):.3f} "
              f"({min(values):.3f}-{max(values):.3f}), {rounds} pairs")  # fmt: skip


if __name__ == "__main__":  # a campaign to measure
    del sys.argv[1]
    sys.exit(campaign())
