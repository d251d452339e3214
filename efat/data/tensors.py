"""Batches cut from tensors in memory: no workers, no per-sample collation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class TensorBatches:
    """Iterate over `(inputs, targets)` in batches; a loader as Lightning accepts it.

    Args:
        inputs: [samples, ...].
        targets: [samples].
        batch_size: Samples a batch.
        shuffle_seed: None keeps the order and the last, smaller batch. A seed gives each pass an
            order of its own, the same however many passes follow, and drops the smaller batch, so
            that an amount in steps is an amount in samples.
    """

    def __init__(
        self, inputs: Tensor, targets: Tensor, batch_size: int, shuffle_seed: int | None = None
    ) -> None:
        self.inputs, self.targets, self.batch_size = inputs, targets, batch_size
        self.generator = None
        if shuffle_seed is not None:
            self.generator = torch.Generator().manual_seed(shuffle_seed)

    def __len__(self) -> int:
        """Count the batches of one pass."""
        full, rest = divmod(len(self.inputs), self.batch_size)
        return full + (rest > 0 and self.generator is None)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples once."""
        if self.generator is None:
            order = torch.arange(len(self.inputs))
        else:
            order = torch.randperm(len(self.inputs), generator=self.generator)
        for batch in order.split(self.batch_size)[: len(self)]:
            yield self.inputs[batch], self.targets[batch]
