"""Loaders of batches: cut from tensors in memory, or decoded as they are needed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from efat.data.resize import Sizing, to_tensor
from efat.data.samples import BadImageError, Samples
from efat.data.transforms import Preparation, add_border

Take = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(inputs, indices [b], generator) -> the batch as the network takes it."""

Item = tuple[Tensor | None, str]
"""uint8 [channels, h, w], or None and the reason why it cannot be decoded."""


def share_of(data: pl.LightningDataModule) -> tuple[int, int]:
    """Return (rank, processes): this process's share of training.

    Evaluation is not shared out: each process sees everything, which gives equal sums.
    """
    return (data.trainer.global_rank, data.trainer.world_size) if data.trainer else (0, 1)


class Batches:
    """The order of samples, in batches, for one pass after another.

    Args:
        samples: Number of samples.
        batch_size: Samples per batch.
        shuffle: False keeps the order and the last, smaller batch. True gives each pass an order
            of its own and drops the smaller batch, so that an amount in steps is an amount in
            samples. The generator of the orders is seeded from torch's once, by the constructor,
            so that nothing that happens between two passes (an evaluation, say) changes them.
        shard: (rank, processes): this process's share of the batches, in distributed training.
            All processes make the same order; each takes every n-th batch of it.
    """

    def __init__(
        self, samples: int, batch_size: int, shuffle: bool = False, shard: tuple[int, int] = (0, 1)
    ) -> None:
        self.samples, self.batch_size, self.shuffle, self.shard = (
            samples,
            batch_size,
            shuffle,
            shard,
        )
        self.generator = torch.Generator()
        if shuffle:
            self.generator.manual_seed(int(torch.randint(2**63 - 1, ())))

    def __len__(self) -> int:
        """Count the batches of one pass."""
        full, rest = divmod(self.samples, self.batch_size)
        rank, processes = self.shard
        if self.shuffle:
            return full // processes
        return len(range(rank, full + (rest > 0), processes))

    def indices(self) -> list[Tensor]:
        """Return the indices of every batch of the next pass."""
        if self.shuffle:
            order = torch.randperm(self.samples, generator=self.generator)
        else:
            order = torch.arange(self.samples)
        rank, processes = self.shard
        return list(order.split(self.batch_size)[rank::processes][: len(self)])


class TensorBatches(Batches):
    """Iterate over `(inputs, targets)` in batches; a loader as Lightning accepts it.

    It needs no worker processes and does not collate sample by sample.

    Args:
        inputs: [samples, ...].
        targets: [samples].
        batch_size: See `Batches`.
        shuffle: See `Batches`.
        take: Cuts a batch out of `inputs`, and normalises and augments it; plain by default.
        shard: See `Batches`.
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
        super().__init__(len(inputs), batch_size, shuffle, shard)
        self.inputs, self.targets, self.take = inputs, targets, take

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples once."""
        for batch in self.indices():
            yield self._inputs(batch), self.targets.index_select(0, batch.to(self.targets.device))

    def _inputs(self, batch: Tensor) -> Tensor:
        if self.take is not None:
            return self.take(self.inputs, batch, self.generator)
        return self.inputs.index_select(0, batch.to(self.inputs.device))


class StreamBatches(Batches):
    """Decode images as they are needed: for data sets larger than memory.

    A skipped image makes its batch smaller.

    Args:
        samples: The images.
        indices: Indices of this split's samples, [samples].
        targets: Targets of those, [samples].
        batch_size: See `Batches`.
        shuffle: See `Batches`.
        prepare: Augments and normalises a batch.
        sizing: Size that all images are brought to.
        skip_bad: Skip images that cannot be decoded, with one warning each.
        workers: Processes that decode.
        device: Where batches are prepared.
        shard: See `Batches`.
    """

    def __init__(
        self,
        samples: Samples,
        indices: NDArray[np.int64],
        targets: Tensor,
        batch_size: int,
        shuffle: bool,
        prepare: Preparation,
        sizing: Sizing,
        skip_bad: bool = False,
        workers: int = 0,
        device: torch.device | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(len(indices), batch_size, shuffle, shard)
        self.dataset = DecodedSamples(samples, sizing, skip_bad)
        self.rows, self.targets, self.prepare = indices, targets, prepare
        self.workers, self.device = workers, device
        self.skipped: set[str] = set()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples once."""
        batches = self.indices()
        loader: Any = DataLoader(
            self.dataset,
            batch_sampler=[self.rows[batch.numpy()].tolist() for batch in batches],
            num_workers=self.workers,
            collate_fn=list,
            generator=torch.Generator(),  # else it draws from torch's own
        )
        for batch, items in zip(batches, loader, strict=True):
            self._warn(items)
            good = [i for i, (image, _) in enumerate(items) if image is not None]
            if good:
                images = torch.stack([items[i][0] for i in good]).to(self.device)
                yield self._prepared(images), self.targets[batch[good]].to(self.device)

    def _prepared(self, images: Tensor) -> Tensor:
        bordered = add_border(images, self.prepare.how.crop)
        return self.prepare(bordered, torch.arange(len(images)), self.generator)

    def _warn(self, items: list[Item]) -> None:
        for _, problem in items:
            if problem and problem not in self.skipped:
                self.skipped.add(problem)
                warnings.warn(f"{problem} ({len(self.skipped)} skipped so far)", stacklevel=2)


class DecodedSamples(Dataset[Item]):
    """Decode samples; in worker processes of a `DataLoader`."""

    def __init__(self, samples: Samples, sizing: Sizing, skip_bad: bool) -> None:
        self.samples, self.sizing, self.skip_bad = samples, sizing, skip_bad

    def __getitem__(self, index: int) -> Item:
        try:
            return to_tensor(self.samples[index], self.sizing), ""
        except BadImageError as error:
            if not self.skip_bad:
                raise
            return None, str(error)
