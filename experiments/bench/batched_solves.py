"""Would all columns of a layer in one batched solve beat one Cholesky factor a column? (No.)

What `remap` asks of a layer: the error left on each column of a 64x64 array. The batch is padded to
the column that loses most. Processor seconds of one thread, medians of seven interleaved rounds;
inputs are random. `docs/repair.md` has the figures.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from efat.nn.repair.solve import RidgeSystem

SIDE, ROUNDS = 64, 7
LAYERS = ((27, 16), (144, 16), (288, 32), (576, 64), (1152, 128))
"""Inputs and channels; the first four are ResNet-20's."""


def one_by_one(system: RidgeSystem, weights: Tensor, lost: Tensor) -> Tensor:
    """Return the error of each column and channel, as efat computes it."""
    group = torch.tensor([0])
    return torch.stack([system.errors_left(weights[None], ~column, group)[0] for column in lost])


def batched(system: RidgeSystem, weights: Tensor, lost: Tensor) -> Tensor:
    """Return the same from one batch, padded with rows of the unit matrix."""
    counts = lost.sum(1)
    most = int(counts.max())
    at = torch.argsort(~lost, dim=1, stable=True)[:, :most]
    real = torch.arange(most) < counts[:, None]
    rows = system.inverse[0][at] * real[:, :, None]
    part = torch.gather(rows, 2, at[:, None].expand(-1, most, -1)) * real[:, None, :]
    part.diagonal(dim1=1, dim2=2).add_((~real).double())
    pruned = weights[at] * real[:, :, None]
    shares = torch.cholesky_solve(pruned, torch.linalg.cholesky(part))
    ridge = system.dampings[0] * (rows.mT @ shares).square().sum(1)
    return ((pruned * shares).sum(1) - ridge).clamp(min=0)


def compare(k: int, m: int, rate: float) -> str:
    torch.manual_seed(0)
    inputs = torch.randn(2000, k, dtype=torch.float64) @ torch.randn(k, k, dtype=torch.float64)
    system = RidgeSystem((inputs.T @ inputs / 2000)[None])
    weights = torch.randn(k, m, dtype=torch.float64)
    lost = (torch.rand(SIDE, SIDE) < rate)[:, torch.arange(k) % SIDE]
    one_by_one(system, weights, lost)  # the inverse is made once
    seconds: dict[str, list[float]] = {"one by one": [], "batched": []}
    for _ in range(ROUNDS):
        found = []
        for how, times in zip((one_by_one, batched), seconds.values(), strict=True):
            begin = time.process_time()
            found.append(how(system, weights, lost))
            times.append(time.process_time() - begin)
        torch.testing.assert_close(*found)
    loop, batch = (1e3 * float(np.median(times)) for times in seconds.values())
    return (
        f"K {k:4d}, {m:3d} channels, {rate:.0%} faulty: one by one {loop:6.1f} ms, "
        f"batched {batch:6.1f} ms ({loop / batch:.2f} times as fast)"
    )


def main() -> None:
    for inputs, channels in LAYERS:
        for share in (0.1, 0.3):
            print(compare(inputs, channels, share), flush=True)
