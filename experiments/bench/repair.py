"""Seconds to repair chips, and how they grow with chips, K and layers.

Processor seconds of one thread, so that a busy machine shows less. Weights and inputs are random:
what a solve takes does not depend on values. Read the growth; the first figure of a line is its
unit. The widest Linear has more inputs than `efat.nn.repair.LARGEST`: it is in two blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from efat import SystolicArray
from efat.hardware import Chip
from efat.hardware.fleets import uniform_fleet
from efat.models import ResNet
from efat.nn.repair import Grams, compensate, measure_grams, remap

ARRAY = SystolicArray(64, 64)
RATE = 0.1
CHIPS, SIZES, DEPTHS = (1, 4, 16), (256, 1024, 4096, 8192), (8, 20, 32, 44)


def repair(model: nn.Module, chip: Chip, grams: Grams) -> None:
    """Remap and compensate one-shot, as `recipe=remap_compensate` does."""
    placement = remap(model, chip.fault_map, ARRAY, grams)
    compensate(model, chip.fault_map, ARRAY, grams, placement=placement)


def seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def residual(depth: int) -> tuple[nn.Module, Grams]:
    torch.manual_seed(0)
    model = ResNet(depth, 10)
    return model, measure_grams(model, torch.randn(64, 3, 32, 32).split(32))


def line(what: str, counts: Sequence[int], times: Sequence[float]) -> str:
    """Say seconds by size, and the exponent of their growth from the first size to the last."""
    power = np.log(times[-1] / times[0]) / np.log(counts[-1] / counts[0])
    cells = ", ".join(f"{c}: {t:.2f} s" for c, t in zip(counts, times, strict=True))
    return f"  {what:<32} {cells}  (grows as size^{power:.1f})"


def by_chips(fleet: Sequence[Chip]) -> list[str]:
    model, grams = residual(20)
    repair(model, fleet[0], grams)  # warm
    each = [seconds(lambda chip=chip: repair(model, chip, grams)) for chip in fleet]
    alone = [seconds(lambda chip=chip: compensate(model, chip.fault_map, ARRAY, grams))
             for chip in fleet[: CHIPS[1]]]  # fmt: skip
    return [
        line("chips, ResNet-20", CHIPS, [sum(each[:count]) for count in CHIPS]),
        f"  a chip: {np.median(each):.2f} s ({min(each):.2f}-{max(each):.2f}), without remapping "
        f"{np.median(alone):.2f} s; 1,000 chips: {1000 * np.mean(each) / 60:.0f} core minutes",
    ]


def by_inputs(chip: Chip) -> str:
    times = []
    for k in SIZES:
        model = nn.Sequential(nn.Linear(k, 64))
        grams = measure_grams(model, torch.randn(256, k).split(128))
        times.append(seconds(lambda model=model, grams=grams: repair(model, chip, grams)))
    return line("K (inputs of a Linear, 64 out)", SIZES, times)


def by_layers(chip: Chip) -> str:
    counts = [depth - 1 for depth in DEPTHS]  # the last is a Linear of 640 weights
    built = [residual(depth) for depth in DEPTHS]
    times = [seconds(lambda of=of: repair(of[0], chip, of[1])) for of in built]
    return line("convolutions (ResNet-8 to -44)", counts, times)


def main() -> None:
    fleet = uniform_fleet(ARRAY, seed=0, chips=max(CHIPS), fault_rate=RATE).chips
    print(
        f"Repair, remapped and compensated one-shot, {ARRAY.rows}x{ARRAY.cols}, {RATE:.0%} faulty; "
        "processor seconds"
    )
    for text in [*by_chips(fleet), by_inputs(fleet[0]), by_layers(fleet[0])]:
        print(text, flush=True)
