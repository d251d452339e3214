"""Time, memory and gap of the planner on large fleets: `python -m experiments.bench planning`.

The smallest size is measured for fleets of every kind, larger ones for uniform fleets.
Each size runs in a process of its own, so that the peak memory is its own. `--chips` chooses sizes
(`make bench-large` runs 100,000 chips, which takes many minutes). Growth is of CPU time and memory
over the size before: linear planning of ten times the chips shows x10.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import time
from collections.abc import Sequence

import numpy as np

from efat.hardware import Chip, FaultMap
from efat.planning import CountCost, MinCost
from tests.planning import fleets as structured

SIDE = 256
SEED = 0


def floored(rate: float) -> float:
    """A floor of one evaluation interval, then convex: a published shape (METHOD 6)."""
    return max(50.0, math.ceil(2000 * rate**2)) * (rate > 0) if rate <= 0.4 else math.inf


def fleet(chips: int) -> list[Chip]:
    """Uniform maps with rates spread over 2-15 %."""
    rng = np.random.default_rng([SEED, chips])
    rates = rng.uniform(0.02, 0.15, chips)
    width = len(str(chips))
    return [
        Chip(f"c{i:0{width}d}", FaultMap(rng.random((SIDE, SIDE), dtype=np.float32) < rate))
        for i, rate in enumerate(rates)
    ]


def measure(kind: str, chips: int) -> dict[str, float]:
    cost = CountCost.of(floored, SIDE, SIDE)
    maps = fleet(chips) if kind == "uniform" else structured.fleet(kind, chips, SIDE)
    started, cpu_started = time.perf_counter(), time.process_time()
    plan = MinCost(effort="full")(maps, cost, SEED)
    elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    alone = sum(cost(chip.fault_map) for chip in maps)
    return {
        "chips": chips,
        "seconds": elapsed_s,
        "cpu_seconds": cpu_s,
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "groups": len(plan.groups),
        "price": plan.price,
        "of_individual": plan.price / alone,
        "bound": plan.bound,
        "gap": plan.gap,
    }


def main(sizes: Sequence[int] = (1000, 10_000)) -> None:
    before: dict[str, float] | None = None
    kinds = [kind for kind in structured.KINDS if kind != "uniform"]
    for kind, chips in [*((k, min(sizes)) for k in kinds), *(("uniform", n) for n in sizes)]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(measure, (kind, chips))
        growth = ""
        if before:
            ratios = (row[key] / before[key] for key in ("chips", "cpu_seconds", "memory_gb"))
            growth = "; x{:.0f} chips, x{:.1f} CPU time, x{:.1f} memory".format(*ratios)
        print(
            f"{kind:<10} {chips:>7} chips  {row['seconds']:8.1f} s "
            f"({row['cpu_seconds']:.1f} s CPU)  "
            f"{row['memory_gb']:5.2f} GB  "
            f"{row['groups']:.0f} groups  price {row['price']:.0f} "
            f"({row['of_individual']:.1%} of individual)  bound {row['bound']:.0f}  "
            f"gap {row['gap']:.1%}{growth}",
            flush=True,
        )
        before = row if kind == "uniform" else None
