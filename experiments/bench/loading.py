"""Images per second of a unit's training, beside bare loops and by precision.

A bare loop has the network, loss and optimizer, and no masks, Lightning or efat: over one batch
that is there, which is a bound and no training, and over torch's own loader.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from efat import FaultMap, SystolicArray, mask_model
from efat.data import ArraySamples, DataModule, Samples
from efat.models import MLP, ResNet
from efat.training import FaultAwareModule
from efat.training.callbacks import CheckMasksAndDivergence, CurveRecorder, PreserveRngState
from efat.training.trainer import build_trainer

ARRAY = SystolicArray(16, 16)
FAULTS = FaultMap(np.random.default_rng(0).random((16, 16)) < 0.2)
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


def bare_loop(net: nn.Module, batches: Iterator[Sequence[Tensor]]) -> Callable[[int], float]:
    """Return what trains, with nothing around it, and tells the seconds."""
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)

    def run(steps: int) -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            x, y = next(batches)
            optimizer.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        return time.perf_counter() - begin

    return run


def ready(shape: tuple[int, int, int], batch: int) -> Iterator[Sequence[Tensor]]:
    """Yield one batch that is there, again and again."""
    return itertools.repeat((torch.randn(batch, *shape), torch.randint(0, 10, (batch,))))


def loaded(shape: tuple[int, int, int], batch: int) -> Iterator[Sequence[Tensor]]:
    """Yield batches of torch's own loader, from tensors in memory."""
    x, y = torch.randn(2560, *shape), torch.randint(0, 10, (2560,))
    loader = DataLoader(TensorDataset(x, y), batch, shuffle=True)
    while True:
        yield from loader


class Rounds(pl.Callback):
    """Times a fit in rounds of some steps, from batch to batch, and bare loops between them."""

    def __init__(self, bare: dict[str, Callable[[int], float]], steps: int) -> None:
        self.bare, self.steps, self.batches = bare, steps, 0
        self.fit_s: list[float] = []
        self.bare_s: dict[str, list[float]] = {name: [] for name in bare}

    def on_train_batch_start(self, *_: object) -> None:
        if self.batches % self.steps == 0:
            if self.batches:
                self.fit_s.append(time.perf_counter() - self.begin)
            for name, run in self.bare.items():
                self.bare_s[name].append(run(self.steps))
            self.begin = time.perf_counter()
        self.batches += 1


def fit_over_bare(
    build: Callable[[], nn.Module],
    shape: tuple[int, int, int],
    batch: int,
    augmented: bool,
    rounds: int,
) -> dict[str, tuple[float, float]]:
    """Train as a unit of work does: data module, Lightning, callbacks, masks of a chip.

    Returns:
        Speed over that of each bare loop, and that loop's images per second: medians of the rounds.
    """
    steps = 24 if shape[1] < 32 else 4
    loops = {"one ready batch": ready(shape, batch), "torch's DataLoader": loaded(shape, batch)}
    timed = Rounds({name: bare_loop(build(), batches) for name, batches in loops.items()}, steps)
    model = mask_model(build(), FAULTS, ARRAY)
    module = FaultAwareModule(model, 10, partial(torch.optim.SGD, lr=0.01, momentum=0.9))
    module.check_masks = True
    callbacks = [timed, CurveRecorder(), PreserveRngState(), CheckMasksAndDivergence()]
    trainer = build_trainer({"accelerator": "cpu"}, callbacks, rounds * steps + 1)
    trainer.fit(module, Images(shape, augmented, batch))
    fit_s = np.array(timed.fit_s[1:])  # one round warms up
    bare = {name: np.array(values[1:rounds]) for name, values in timed.bare_s.items()}
    return {
        name: (float(np.median(bare_s / fit_s)), steps * batch / float(np.median(bare_s)))
        for name, bare_s in bare.items()
    }


def bench_loading(repeats: int = 9, rounds: int = 30) -> None:
    """Print images per second of a unit's training over those of bare loops, interleaved."""
    print(
        f"A unit's training from memory over bare loops: median, lowest and highest of "
        f"{repeats} fits, each the median of {rounds} paired rounds"
    )
    for title, (build, shape, batch, augmented) in LOADING.items():
        fits = [fit_over_bare(build, shape, batch, augmented, rounds) for _ in range(repeats)]
        for name in fits[0]:
            low, middle, high = np.quantile([fit[name][0] for fit in fits], (0, 0.5, 1))
            speed = np.median([fit[name][1] for fit in fits])
            found = f"{middle:.3f} ({low:.3f}-{high:.3f}; {speed:.0f} images/s bare)"
            print(f"  {title}, over {name}: {found}")


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
                    elapsed_s = bare_loop(net, ready(shape, 128))(3)
                fastest[bf16, last] = min(fastest[bf16, last], elapsed_s)
        base = fastest[False, False]
        text = ", ".join(
            f"{'bf16' if bf16 else 'fp32'}{' channels_last' if last else ''} {base / t:.2f}x"
            for (bf16, last), t in fastest.items()
        )
        print(f"  {title}: {text} (fp32: {3 * 128 / base:.0f} images/s)")


def main() -> None:
    bench_loading()
    bench_precision()
