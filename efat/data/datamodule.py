"""The base of all data sets that efat reads: split, decoded once, in batches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from efat.data.decode import as_targets, check_targets, decode_all
from efat.data.loaders import StreamBatches, TensorBatches, share_of
from efat.data.resize import Sizing
from efat.data.samples import Array, ArraySamples, Samples
from efat.data.splits import SPLITS, SplitSizes, hash_arrays, split_parts
from efat.data.transforms import Augmentation, Preparation, add_border, channel_statistics
from efat.errors import EfatError, checked

KEPT_SETS = 2
"""Decoded data sets that a process keeps: each unit of work builds its data module anew."""


Batch = Annotated[int, Field(ge=1, strict=True)]


@checked("data")
class Options(SplitSizes, Augmentation, Sizing):
    """Options that all data sets take, beside those of splits, augmentation and sizing.

    Args:
        batch_size: Samples per training batch.
        eval_batch_size: Samples per batch of validation and test.
        mean: One value per channel, on a scale where white is 1; None takes the training split's.
        std: Deviation of each channel, on the same scale; None takes the training split's.
        bad_images: `skip` leaves out images that cannot be decoded.
        in_memory: Decode all images once and keep them as uint8; false decodes each when it is
            needed.
        workers: Processes that decode, where images are not in memory.

    Raises:
        EfatError: All wrong values at once.
    """

    batch_size: Batch = 128
    eval_batch_size: Batch = 512
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bad_images: Literal["error", "skip"] = "error"
    in_memory: bool = True
    workers: Annotated[int, Field(ge=0, strict=True)] = 0

    def problems(self) -> Iterator[str]:
        yield from Sizing.problems(self)
        if (self.mean is None) != (self.std is None):
            yield "data.mean, data.std: only one given; give both or neither"


@dataclass
class Loaded:
    """A data set, split.

    Args:
        samples: By split; tensors of all inputs where the set is in memory.
        indices: Indices of the split's samples, by split.
        targets: By split.
        skipped: Why images were skipped, one line each.
        key: Hash of everything above.
        statistics: Mean and deviation of the training split, once they are needed.
        bordered: Training images with their border, by its width.
    """

    samples: dict[str, Tensor | Samples]
    indices: dict[str, NDArray[np.int64]]
    targets: dict[str, Tensor]
    skipped: tuple[str, ...]
    key: str
    statistics: tuple[Tensor, Tensor] | None = None
    bordered: dict[int, Tensor] = field(default_factory=dict)


_kept: OrderedDict[str, Loaded] = OrderedDict()


class DataModule(pl.LightningDataModule):
    """Train, validation and test splits of what `read` returns.

    Args:
        options: Fields of `Options`.

    Raises:
        EfatError: All wrong values at once.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = Options(**options)
        self.loaded: Loaded | None = None

    def read(self) -> dict[str, Samples]:
        """Return the parts of the data set: `train`, and `val` and `test` if it has them."""
        raise NotImplementedError

    def stamp(self) -> str:
        """Identify the data set and the state of its files, for the cache of this process."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        if self.loaded is None:
            shared = [getattr(self.options, name) for name in SHARED]
            key = repr((type(self), self.stamp(), shared))
            if key not in _kept:
                _kept[key] = self._load()
            _kept.move_to_end(key)
            while len(_kept) > KEPT_SETS:
                _kept.popitem(last=False)
            self.loaded = _kept[key]

    @property
    def split_hash(self) -> str:
        """Hash of the samples in each split; part of the key of every result."""
        return self._ready.key

    @property
    def num_classes(self) -> int | None:
        """Classes that occur, or None where targets are not classes."""
        targets = self._ready.targets.values()
        if any(t.is_floating_point() or t.ndim != 1 for t in targets):
            return None
        return 1 + max(int(t.max()) for t in targets)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Skipped images, one line each, with `bad_images=skip`."""
        return self._ready.skipped

    def train_dataloader(self) -> TensorBatches | StreamBatches:
        return self._batches("train", self.options.batch_size)

    def val_dataloader(self) -> TensorBatches | StreamBatches:
        return self._batches("val", self.options.eval_batch_size)

    def test_dataloader(self) -> TensorBatches | StreamBatches:
        return self._batches("test", self.options.eval_batch_size)

    @property
    def _ready(self) -> Loaded:
        if self.loaded is None:
            raise EfatError("data: not set up; call setup('fit') first")
        return self.loaded

    def _load(self) -> Loaded:
        parts = self.read()
        skipped: tuple[str, ...] = ()
        for name, part in parts.items():
            check_targets(name, part.targets)
        if self.options.in_memory:
            parts, skipped = decode_all(parts, self.options, self.options.bad_images == "skip")
        splits = split_parts({n: part.targets for n, part in parts.items()}, self.options)
        indices = {split: index for split, (_, index) in splits.items()}
        targets = {s: as_targets(parts[name].targets[i]) for s, (name, i) in splits.items()}
        samples = {
            split: self._held(parts[name], indices[split]) for split, (name, _) in splits.items()
        }
        contents = [
            array
            for split in SPLITS
            for array in (_contents(samples[split], indices[split]), targets[split].numpy())
        ]
        return Loaded(samples, indices, targets, skipped, hash_arrays(*contents))

    def _held(self, part: Samples, indices: NDArray[np.int64]) -> Tensor | Samples:
        """Return a split as one tensor where the set is in memory."""
        if self.options.in_memory and isinstance(part, ArraySamples):
            return torch.from_numpy(part.inputs[indices])
        return part

    def _batches(self, split: str, batch_size: int) -> TensorBatches | StreamBatches:
        loaded, shuffle = self._ready, split == "train"
        samples, targets = loaded.samples[split], loaded.targets[split]
        device, shard = self._device(), share_of(self) if shuffle else (0, 1)
        axes = samples.ndim if isinstance(samples, Tensor) else 4
        how = self.options if shuffle else Augmentation()
        prepare = Preparation.of(*self._statistics(), axes, how, device)
        if not isinstance(samples, Tensor):
            return StreamBatches(
                samples, loaded.indices[split], targets, batch_size, shuffle, prepare, self.options,
                self.options.bad_images == "skip", self.options.workers, device, shard,
            )  # fmt: skip
        inputs = self._bordered(samples) if shuffle else samples
        return TensorBatches(
            inputs.to(device), targets.to(device), batch_size, shuffle, prepare, shard
        )

    def _bordered(self, images: Tensor) -> Tensor:
        bordered = self._ready.bordered
        if self.options.crop not in bordered:
            with torch.inference_mode(False):  # a Trainer may be validating in it
                bordered[self.options.crop] = add_border(images, self.options.crop)
        return bordered[self.options.crop]

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation in the unit of the stored inputs."""
        mean, std = self.options.mean, self.options.std
        train, loaded = self._ready.samples["train"], self._ready
        if mean is not None and std is not None:
            scale = 1.0 if isinstance(train, Tensor) and train.is_floating_point() else 255.0
            return torch.tensor(list(mean)) * scale, torch.tensor(list(std)) * scale
        if not isinstance(train, Tensor):
            raise EfatError("data.mean, data.std: null given; needed where data.in_memory is false")
        if loaded.statistics is None:
            with torch.inference_mode(False):
                loaded.statistics = channel_statistics(train)
        return loaded.statistics

    def _device(self) -> torch.device:
        """Return the device of training; the CPU while no Trainer is attached."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")


SHARED = [each.name for each in (*fields(Sizing), *fields(SplitSizes))]
SHARED += ["in_memory", "bad_images"]
"""Options that decide what is decoded and split."""


def _contents(samples: Tensor | Samples, indices: NDArray[np.int64]) -> Array:
    return samples.numpy() if isinstance(samples, Tensor) else indices
