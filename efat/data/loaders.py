"""Batches cut from tensors in memory: no workers, no per-sample collation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytorch_lightning as pl
import torch
from torch import Tensor

Take = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(inputs, which of them [b], generator) -> the batch as the network takes it."""


class TensorBatches:
    """Iterate over `(inputs, targets)` in batches; a loader as Lightning accepts it.

    Args:
        inputs: [samples, ...].
        targets: [samples].
        batch_size: Samples a batch.
        shuffle: False keeps the order and the last, smaller batch. True gives each pass an order
            of its own and drops the smaller batch, so that an amount in steps is an amount in
            samples. The orders are drawn from torch's generator once, here, so that nothing that
            happens between two passes (an evaluation, say) changes them.
        take: Cuts a batch out of `inputs`, and normalises and augments it; plain by default.
        shard: (rank, processes): this process's share of the batches, in distributed training.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        batch_size: int,
        shuffle: bool = False,
        take: Take | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.inputs, self.targets = inputs, targets
        self.batch_size, self.shuffle, self.take, self.shard = batch_size, shuffle, take, shard
        self.generator = torch.Generator()
        if shuffle:
            self.generator.manual_seed(int(torch.randint(2**63 - 1, ())))

    def __len__(self) -> int:
        """Count the batches of one pass."""
        return count_batches(len(self.inputs), self.batch_size, self.shuffle, self.shard)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples once."""
        for batch in draw_batches(
            len(self.inputs), self.batch_size, self.shuffle, self.shard, self.generator
        ):
            yield self._inputs(batch), self.targets.index_select(0, batch.to(self.targets.device))

    def _inputs(self, batch: Tensor) -> Tensor:
        if self.take is not None:
            return self.take(self.inputs, batch, self.generator)
        return self.inputs.index_select(0, batch.to(self.inputs.device))


def share_of(data: pl.LightningDataModule) -> tuple[int, int]:
    """Return (rank, processes): this process's share of training.

    Evaluation is not shared out: each process sees everything, which gives equal sums.
    """
    return (data.trainer.global_rank, data.trainer.world_size) if data.trainer else (0, 1)


def count_batches(samples: int, batch_size: int, shuffle: bool, shard: tuple[int, int]) -> int:
    """Count the batches that `draw_batches` returns."""
    full, rest = divmod(samples, batch_size)
    rank, processes = shard
    return full // processes if shuffle else len(range(rank, full + (rest > 0), processes))


def draw_batches(
    samples: int,
    batch_size: int,
    shuffle: bool,
    shard: tuple[int, int],
    generator: torch.Generator,
) -> list[Tensor]:
    """Return the indices of every batch of one pass; of full batches where they are shuffled.

    Every process draws the same order and takes every n-th batch of it.
    """
    order = torch.randperm(samples, generator=generator) if shuffle else torch.arange(samples)
    count = count_batches(samples, batch_size, shuffle, shard)
    rank, processes = shard
    return list(order.split(batch_size)[rank::processes][:count])
