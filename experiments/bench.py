"""`make bench`: what masking costs a step, and what loading, Lightning and a campaign cost.

All variants are timed interleaved in one process on one thread, so that a busy machine slows all of
them alike; read the ratios, not the milliseconds.
"""

from __future__ import annotations

import copy
import json
import math
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize, prune

from efat import FaultMap, SystolicArray, keep_masked, mask_model
from efat.callbacks import CurveRecorder, MaskGuard, SameDraws
from efat.data.base import DataModule
from efat.data.samples import ArraySamples, Samples
from efat.emulation.bench import measure_speed, speed_table
from efat.executors import usable_cores
from efat.fit import build_trainer
from efat.jobs import Setup, TrainingJob
from efat.masking import MASK, masked_layers
from efat.models.mlp import MLP
from efat.models.resnet import ResNet
from efat.module import FaultAwareModule
from experiments.bench_engine import bench_engine

ARRAY = SystolicArray(16, 16)
FAULTS = FaultMap(np.random.default_rng(0).random((16, 16)) < 0.2)
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
    keep_masked(net, optimizer, guarded=True)  # as in a campaign
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
    """Return seconds a step, [rounds], of every variant; the first rounds warm up."""
    times: dict[str, list[float]] = {variant: [] for variant in run}
    for _ in range(rounds + 3):
        for variant in random.sample(list(run), len(run)):
            begin = time.perf_counter()
            for _ in range(steps):
                run[variant]()
            times[variant].append((time.perf_counter() - begin) / steps)
    return {variant: np.array(values[3:]) for variant, values in times.items()}


LOADING = {
    "digits ResNet-8, 8x8, batch 32": (lambda: ResNet(8, 10, 1), (1, 8, 8), 32, False),
    "ResNet-20, 32x32, batch 128, crop and flip": (lambda: ResNet(20, 10), (3, 32, 32), 128, True),
}


class Images(DataModule):
    """Random uint8 images in memory, through everything that a real set goes through."""

    def __init__(self, shape: tuple[int, int, int], augmented: bool, batch_size: int) -> None:
        crop = 4 if augmented else 0
        super().__init__(batch_size=batch_size, crop=crop, flip=augmented, test_size=0.1)
        self.shape = shape

    def stamp(self) -> str:
        return str(self.shape)

    def read(self) -> dict[str, Samples]:
        rng = np.random.default_rng(0)
        shape = (2560, *self.shape[1:], self.shape[0])
        images = rng.integers(0, 256, shape, dtype=np.uint8)
        return {"train": ArraySamples(images, np.arange(len(images)) % 10)}


def bare_loop(net: nn.Module, shape: tuple[int, int, int], batch: int) -> Callable[[int], float]:
    """Return what trains on one ready batch, with nothing around it, and tells the seconds."""
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    x, y = torch.randn(batch, *shape), torch.randint(0, 10, (batch,))

    def run(steps: int) -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        return time.perf_counter() - begin

    return run


class Rounds(pl.Callback):
    """Times a fit in rounds of some steps, from batch to batch, and a bare loop between them."""

    def __init__(self, bare: Callable[[int], float], steps: int) -> None:
        self.bare, self.steps, self.batches = bare, steps, 0
        self.fit_s: list[float] = []
        self.bare_s: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        if self.batches % self.steps == 0:
            if self.batches:
                self.fit_s.append(time.perf_counter() - self.begin)
            self.bare_s.append(self.bare(self.steps))
            self.begin = time.perf_counter()
        self.batches += 1


def fit_over_bare(
    build: Callable[[], nn.Module],
    shape: tuple[int, int, int],
    batch: int,
    augmented: bool,
    rounds: int,
) -> tuple[float, float]:
    """Train as a unit of work does: data module, Lightning, callbacks, masks of a chip.

    Returns:
        Speed over that of a bare loop, and that loop's images per second: medians of the rounds.
    """
    steps = 24 if shape[1] < 32 else 4
    timed = Rounds(bare_loop(build(), shape, batch), steps)
    model = mask_model(build(), FAULTS, ARRAY)
    module = FaultAwareModule(model, 10, partial(torch.optim.SGD, lr=0.01, momentum=0.9))
    module.guarded = True
    setup = Setup({}, {}, 10, {"accelerator": "cpu"}, {})
    job = TrainingJob(setup, 0, rounds * steps + 1)
    trainer = build_trainer(job, [timed, CurveRecorder(), SameDraws(), MaskGuard()])
    trainer.fit(module, Images(shape, augmented, batch))
    bare_s, fit_s = np.array(timed.bare_s[1:rounds]), np.array(timed.fit_s[1:])  # one warms up
    return float(np.median(bare_s / fit_s)), steps * batch / float(np.median(bare_s))


def bench_loading(repeats: int = 9, rounds: int = 30) -> None:
    """Print images per second of a unit's training over those of a bare loop, interleaved."""
    print(
        f"Training from memory over a bare loop on one ready batch: median, lowest and highest of "
        f"{repeats} fits, each the median of {rounds} paired rounds"
    )
    for title, (build, shape, batch, augmented) in LOADING.items():
        measured = [fit_over_bare(build, shape, batch, augmented, rounds) for _ in range(repeats)]
        low, middle, high = np.quantile([ratio for ratio, _ in measured], (0, 0.5, 1))
        speed = np.median([speed for _, speed in measured])
        print(f"  {title}: {middle:.3f} ({low:.3f}-{high:.3f}; {speed:.0f} images/s bare)")


def bench_precision(rounds: int = 10) -> None:
    """Print images per second of bf16 autocast and channels_last over plain fp32, interleaved."""
    print(f"Precision on this processor, times over fp32, fastest of {rounds} rounds")
    nets = {
        "ResNet-8, 28x28, batch 128": (lambda: ResNet(8, 10, 1), (1, 28, 28)),
        "ResNet-20, 32x32, batch 128": (lambda: ResNet(20, 10), (3, 32, 32)),
        "MLP 784-256-256-256-10, batch 128": (lambda: MLP([784, 256, 256, 256, 10]), (1, 28, 28)),
    }
    kinds = [(False, False), (False, True), (True, False), (True, True)]
    for title, (build, shape) in nets.items():
        fastest = dict.fromkeys(kinds, math.inf)
        for _ in range(rounds):
            for bf16, last in kinds:
                net = build().to(memory_format=torch.channels_last) if last else build()
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    elapsed_s = bare_loop(net, shape, 128)(3)
                fastest[bf16, last] = min(fastest[bf16, last], elapsed_s)
        base = fastest[False, False]
        text = ", ".join(
            f"{'bf16' if bf16 else 'fp32'}{' channels_last' if last else ''} {base / t:.2f}x"
            for (bf16, last), t in fastest.items()
        )
        print(f"  {title}: {text} (fp32: {3 * 128 / base:.0f} images/s)")


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


if __name__ == "__main__":
    torch.set_num_threads(1)
    bench_masking()
    bench_loading()
    bench_precision()
    print(speed_table(measure_speed()))
    bench_campaign()
    bench_engine()
