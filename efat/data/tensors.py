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
        shuffle: False keeps the order and the last, smaller batch. True gives each pass an order
            of its own and drops the smaller batch, so that an amount in steps is an amount in
            samples. The orders are drawn from torch's generator once, here, so that nothing that
            happens between two passes (an evaluation, say) changes them.
    """

    def __init__(
        self, inputs: Tensor, targets: Tensor, batch_size: int, shuffle: bool = False
    ) -> None:
        self.inputs, self.targets, self.batch_size, self.shuffle = (
            inputs,
            targets,
            batch_size,
            shuffle,
        )
        self.generator = torch.Generator()
        if shuffle:
            self.generator.manual_seed(int(torch.randint(2**63 - 1, ())))

    def __len__(self) -> int:
        """Count the batches of one pass."""
        full, rest = divmod(len(self.inputs), self.batch_size)
        return full + (rest > 0 and not self.shuffle)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples once."""
        if not self.shuffle:
            yield from zip(
                self.inputs.split(self.batch_size), self.targets.split(self.batch_size), strict=True
            )
            return
        order = torch.randperm(len(self.inputs), generator=self.generator)
        for batch in order.split(self.batch_size)[: len(self)]:
            yield self.inputs[batch], self.targets[batch]
