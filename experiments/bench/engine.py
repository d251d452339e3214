"""What the campaign engine costs beside its units.

Overhead a unit with empty units, trainings per second with one and two processes (interleaved in
one run; a ratio), and the driver's memory over many units.
"""

from __future__ import annotations

import io
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from efat import SystolicArray
from efat.engine import Executor, Progress, Result, Store, UnitRunner
from efat.engine.executors import Processes, Ray
from efat.errors import EfatError
from efat.hardware.fleets import draw_fault_map
from efat.seeds import generator
from efat.training import Factory, TrainingJob, TrainSpec, trainer

DICT = Factory("builtins.dict")
EMPTY = TrainSpec(DICT, DICT, 10, {}, DICT)
DIGITS = TrainSpec(
    model=Factory("efat.models.ResNet", {"depth": 8, "num_classes": 10, "in_channels": 1}),
    data=Factory("efat.data.Digits", {"batch_size": 32}),
    num_classes=10,
    trainer={"accelerator": "cpu"},
    optimizer=Factory("torch.optim.SGD", {"lr": 0.01, "momentum": 0.9}, partial=True),
)
ARRAY = SystolicArray(16, 16)


def nothing(job: TrainingJob, store: Store) -> Result:  # noqa: ARG001 - as `trainer.train`
    return Result({"metric": [0.5], "elapsed_s": 0.0})


def empty_units(count: int, first: int = 0) -> list[TrainingJob]:
    return [TrainingJob(EMPTY, seed, 1) for seed in range(first, first + count)]


def trainings(count: int, first: int) -> list[TrainingJob]:
    maps = [draw_fault_map(ARRAY, 0.1, generator(i, "bench")) for i in range(first, first + count)]
    return [TrainingJob(DIGITS, 0, 96, 0, None, ARRAY, fault_map) for fault_map in maps]


def campaign(folder: str, executor: Executor) -> UnitRunner:
    store = Store(Path(folder) / "store")
    store.open()
    return UnitRunner(store, executor, Progress(Console(file=io.StringIO()), {}))


def timed(executor: Executor, function: object, jobs: Sequence[TrainingJob]) -> float:
    """Run jobs in a fresh store; return seconds."""
    with tempfile.TemporaryDirectory() as folder:
        run = campaign(folder, executor)
        begin = time.perf_counter()
        run.run("bench", function, jobs)  # type: ignore[arg-type]
        return time.perf_counter() - begin


def bench_overhead(units: int = 1000) -> None:
    executors: dict[str, Executor] = {"processes": Processes(2)}
    try:
        executors["ray"] = Ray()
    except EfatError:
        print("  ray: not installed")
    for name, executor in executors.items():
        executor.start()
        timed(executor, nothing, empty_units(8))  # the workers are up
        each_ms = 1000 * timed(executor, nothing, empty_units(units)) / units
        print(f"  {name}: {each_ms:.2f} ms a unit over {units:,} empty units")


def bench_two_processes(rounds: int = 4, units: int = 12) -> None:
    one, two, seconds = Processes(1), Processes(2), {1: 0.0, 2: 0.0}
    for executor in (one, two):
        executor.start()
        timed(executor, trainer.train, trainings(2, 0))
    for turn in range(rounds):
        for executor in (one, two):
            seconds[executor.workers] += timed(executor, trainer.train, trainings(units, 10 * turn))
    rate = {n: rounds * units / s for n, s in seconds.items()}
    print(
        f"  digits trainings a second: {rate[1]:.2f} with 1 process, {rate[2]:.2f} with 2: "
        f"{rate[2] / rate[1]:.2f} times"
    )


def bench_memory(units: int = 10_000, parts: int = 5) -> None:
    """Print the driver's peak memory (Linux counts it in KiB) after each part of one campaign."""
    executor, sizes = Processes(2), []
    with tempfile.TemporaryDirectory() as folder:
        run = campaign(folder, executor)
        for part in range(parts):
            run.run("bench", nothing, empty_units(units // parts, part * units // parts))
            sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
    text = ", ".join(f"{size:.0f}" for size in sizes)
    print(f"  peak memory of the driver, MiB, on the way through {units:,} units: {text}")


def main() -> None:
    print("Campaign engine:")
    bench_overhead()
    bench_two_processes()
    bench_memory()
