"""Batches of images that are decoded as they are needed: for data sets larger than memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from efat.data.loaders import count_batches, draw_batches
from efat.data.resize import Sizing, to_tensor
from efat.data.samples import BadImageError, Samples
from efat.data.transforms import Preparation, add_border

Item = tuple[Tensor | None, str]
"""uint8 [channels, h, w], or None and why not."""


class Decoded(Dataset[Item]):
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


class StreamBatches:
    """As `TensorBatches`, but decodes on the way; skipped images make their batch smaller.

    Args:
        samples: Where images come from.
        indices: Which of them, [samples].
        targets: [samples], of those.
        batch_size: Samples a batch.
        shuffle: As in `TensorBatches`.
        prepare: Augments and normalises a batch.
        sizing: Size that all images are brought to.
        skip_bad: Leave images out that cannot be decoded, with a warning each.
        workers: Processes that decode.
        device: Where batches are prepared.
        shard: As in `TensorBatches`.
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
        self.dataset = Decoded(samples, sizing, skip_bad)
        self.indices, self.targets = indices, targets
        self.batch_size, self.shuffle, self.prepare = batch_size, shuffle, prepare
        self.workers, self.device, self.shard = workers, device, shard
        self.generator = torch.Generator()
        if shuffle:
            self.generator.manual_seed(int(torch.randint(2**63 - 1, ())))
        self.skipped: set[str] = set()

    def __len__(self) -> int:
        """Count the batches of one pass."""
        return count_batches(len(self.indices), self.batch_size, self.shuffle, self.shard)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples once."""
        batches = draw_batches(
            len(self.indices), self.batch_size, self.shuffle, self.shard, self.generator
        )
        loader: Any = DataLoader(
            self.dataset,
            batch_sampler=[self.indices[batch.numpy()].tolist() for batch in batches],
            num_workers=self.workers,
            collate_fn=list,
            generator=torch.Generator(),  # else it draws from torch's own
        )
        for batch, items in zip(batches, loader, strict=True):
            self._note(items)
            good = [i for i, (image, _) in enumerate(items) if image is not None]
            if good:
                images = torch.stack([items[i][0] for i in good]).to(self.device)
                yield self._prepared(images), self.targets[batch[good]].to(self.device)

    def _prepared(self, images: Tensor) -> Tensor:
        bordered = add_border(images, self.prepare.how.crop)
        return self.prepare(bordered, torch.arange(len(images)), self.generator)

    def _note(self, items: list[Item]) -> None:
        for _, problem in items:
            if problem and problem not in self.skipped:
                self.skipped.add(problem)
                warnings.warn(f"{problem} ({len(self.skipped)} skipped so far)", stacklevel=2)
