"""What masking costs a step, and a campaign beside its units.

All variants are timed interleaved in one process on one thread, so that a busy machine slows all of
them alike; read the ratios, not the milliseconds.
"""

from __future__ import annotations

import copy
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize, prune

from efat import keep_masked, mask_model
from efat.engine.executors import usable_cores
from efat.models import MLP, ResNet
from efat.nn.masking import MASK, masked_layers
from experiments.bench.loading import ARRAY, FAULTS

NETS = {
    "digits ResNet-8, batch 32": (lambda: ResNet(8, 10, 1), (32, 1, 8, 8)),
    "MLP 784-256-256-256-10, batch 128": (lambda: MLP([784, 256, 256, 256, 10]), (128, 784)),
}


class Mask(nn.Module):
    """Multiply by a mask, as a parametrization."""

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.mask


def masks_of(net: nn.Module) -> dict[str, torch.Tensor]:
    masked = mask_model(copy.deepcopy(net), FAULTS, ARRAY)
    return {name: getattr(layer, MASK) for name, layer in masked_layers(masked).items()}


def plain(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)


def ours(net: nn.Module) -> torch.optim.Optimizer:
    optimizer = plain(mask_model(net, FAULTS, ARRAY))
    keep_masked(net, optimizer, trust_masked_gradients=True)  # as in a campaign
    return optimizer


def pruned(net: nn.Module) -> torch.optim.Optimizer:
    for name, mask in masks_of(net).items():
        prune.custom_from_mask(net.get_submodule(name), "weight", mask)
    return plain(net)


def parametrized(net: nn.Module) -> torch.optim.Optimizer:
    for name, mask in masks_of(net).items():
        parametrize.register_parametrization(net.get_submodule(name), "weight", Mask(mask))
    return plain(net)


VARIANTS = {
    "unmasked": plain,
    "unmasked again": plain,
    "efat": ours,
    "prune": pruned,
    "parametrize": parametrized,
}


def stepper(
    build: Callable[[], nn.Module], shape: tuple[int, ...], variant: str
) -> Callable[[], None]:
    torch.manual_seed(0)
    net = build()
    optimizer = VARIANTS[variant](net)
    x, y = torch.randn(shape), torch.randint(0, 10, shape[:1])

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


def bench_masking(repeats: int = 15, rounds: int = 60, steps: int = 4) -> None:
    """Print step times over those of unmasked training.

    A round times a few steps of every variant, in random order, and gives one ratio of each; a
    repeat is the median of its rounds' ratios, on networks of its own, since where their memory
    lies shows. How far "unmasked again" is from 1 is what cannot be told apart.
    """
    print(
        f"Step time over unmasked training: median, lowest and highest of {repeats} repeats, each "
        f"the median of {rounds} paired rounds of {steps} steps"
    )
    for title, (build, shape) in NETS.items():
        step_s, ratios = [], {variant: [] for variant in VARIANTS}
        for _ in range(repeats):
            times = time_rounds({v: stepper(build, shape, v) for v in VARIANTS}, rounds, steps)
            step_s.append(np.median(times["unmasked"]))
            for variant, values in times.items():
                ratios[variant].append(np.median(values / times["unmasked"]))
        print(f"  {title} (unmasked: {1000 * np.median(step_s):.2f} ms)")
        for variant in list(VARIANTS)[1:]:
            low, middle, high = np.quantile(ratios[variant], (0, 0.5, 1))
            print(f"    {variant:15} {middle:.3f}  ({low:.3f}-{high:.3f})")


def time_rounds(
    run: dict[str, Callable[[], None]], rounds: int, steps: int
) -> dict[str, np.ndarray]:
    """Return seconds per step, [rounds], of every variant; the first rounds warm up."""
    times: dict[str, list[float]] = {variant: [] for variant in run}
    for _ in range(rounds + 3):
        for variant in random.sample(list(run), len(run)):
            begin = time.perf_counter()
            for _ in range(steps):
                run[variant]()
            times[variant].append((time.perf_counter() - begin) / steps)
    return {variant: np.array(values[3:]) for variant, values in times.items()}


def bench_campaign() -> None:
    """Run the main job in a fresh folder; compare its wall time with the time its units took.

    A stage of many units keeps all workers busy; pretraining is one unit and keeps one.
    """
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        command = [sys.executable, "-m", "efat.run", "+experiment=resnet_fat"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        whole_s = time.perf_counter() - begin
        (seconds,) = re.findall(r"^(\d+) s; units computed", done.stdout, re.MULTILINE)
        busy_s = {
            stage.name: sum(
                json.loads(f.read_text())["values"]["elapsed_s"] for f in stage.glob("*.json")
            )
            for stage in Path(folder, "outputs/store").iterdir()
            if any(stage.glob("*.json"))
        }
    campaign_s = int(seconds)
    inside_s = busy_s.pop("pretrain") + sum(busy_s.values()) / usable_cores()
    print(
        f"Main job: {whole_s:.0f} s, of which {campaign_s} s campaign and the rest start-up of "
        f"Python, torch and Lightning; {1 - inside_s / campaign_s:.1%} of the campaign outside "
        f"training and evaluation"
    )


def main() -> None:
    bench_masking()
    bench_campaign()
