"""The LightningDataModule of all data sets that efat reads: split, decoded once, in batches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from efat.data.augment import Augmentation
from efat.data.decode import as_targets, check_targets, decode_all
from efat.data.loaders import TensorBatches, share_of
from efat.data.resize import Sizing
from efat.data.samples import Array, ArraySamples, Samples
from efat.data.splits import SPLITS, Size, SplitSizes, hash_arrays, split_parts
from efat.data.stream import StreamBatches
from efat.data.transforms import Preparation, add_border, channel_statistics
from efat.errors import EfatError, raise_problems

if TYPE_CHECKING:
    from typing_extensions import Unpack

KEPT_SETS = 2
"""Decoded data sets that a process keeps: each unit of work asks for its data anew."""


class Options(TypedDict, total=False):
    """What all data sets take.

    `batch_size`, `eval_batch_size`: samples a batch. `val_size`, `val_from`, `test_size`,
    `train_size`, `split_seed`: see `SplitSizes`. `mean`, `std`: one value a channel, on a scale
    where white is 1; null takes the training split's. `crop`, `flip`, `cutout`: see `Augmentation`.
    `image_size`, `resize`: see `Sizing`. `bad_images`: `error` or `skip`. `in_memory`: decode all
    images once and keep them as uint8, or each when it is needed, with `workers` processes.
    """

    batch_size: int
    eval_batch_size: int
    val_size: Size
    val_from: Literal["train", "test"]
    test_size: Size
    train_size: Size
    split_seed: int
    mean: Sequence[float] | None
    std: Sequence[float] | None
    crop: int
    flip: bool
    cutout: int
    image_size: int | None
    resize: int | None
    bad_images: Literal["error", "skip"]
    in_memory: bool
    workers: int


@dataclass
class Loaded:
    """A data set, split.

    Args:
        samples: By split; tensors of all inputs where the set is in memory.
        indices: Which samples of them, by split.
        targets: By split.
        skipped: Why images were left out, one line each.
        key: Hash of everything above.
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
        options: See `Options`.

    Raises:
        EfatError: All wrong values at once.
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__()
        problems: list[str] = []
        given = {**DEFAULTS, **options}
        _check_options(given, problems)
        self.options = given
        self.sizes = _attempt(problems, lambda: SplitSizes(*(given[k] for k in SPLIT_KEYS)))
        self.how = _attempt(problems, lambda: Augmentation(*(given[k] for k in AUGMENT_KEYS)))
        self.sizing = _attempt(problems, lambda: Sizing(given["image_size"], given["resize"]))
        raise_problems(problems)
        self.loaded: Loaded | None = None

    def read(self) -> dict[str, Samples]:
        """Return the parts of the data set: `train`, and `val` and `test` if it has them."""
        raise NotImplementedError

    def stamp(self) -> str:
        """Name the data set, and what on disk would change it, for this process's memory of it."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        if self.loaded is None:
            shared = ("in_memory", "bad_images", "image_size", "resize", *SPLIT_KEYS)
            key = repr((type(self), self.stamp(), [self.options[name] for name in shared]))
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
        """Images left out, one line each, with `bad_images=skip`."""
        return self._ready.skipped

    def train_dataloader(self) -> TensorBatches | StreamBatches:
        return self._batches("train", self.options["batch_size"])

    def val_dataloader(self) -> TensorBatches | StreamBatches:
        return self._batches("val", self.options["eval_batch_size"])

    def test_dataloader(self) -> TensorBatches | StreamBatches:
        return self._batches("test", self.options["eval_batch_size"])

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
        if self.options["in_memory"]:
            parts, skipped = decode_all(parts, self.sizing, self.options["bad_images"] == "skip")
        splits = split_parts({n: part.targets for n, part in parts.items()}, self.sizes)
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
        if self.options["in_memory"] and isinstance(part, ArraySamples):
            return torch.from_numpy(part.inputs[indices])
        return part

    def _batches(self, split: str, batch_size: int) -> TensorBatches | StreamBatches:
        loaded, shuffle = self._ready, split == "train"
        samples, targets = loaded.samples[split], loaded.targets[split]
        device, shard = self._device(), share_of(self) if shuffle else (0, 1)
        axes = samples.ndim if isinstance(samples, Tensor) else 4
        how = self.how if shuffle else Augmentation()
        prepare = Preparation.of(*self._statistics(), axes, how, device)
        if not isinstance(samples, Tensor):
            return StreamBatches(
                samples, loaded.indices[split], targets, batch_size, shuffle, prepare, self.sizing,
                self.options["bad_images"] == "skip", self.options["workers"], device, shard,
            )  # fmt: skip
        inputs = self._bordered(samples) if shuffle else samples
        return TensorBatches(
            inputs.to(device), targets.to(device), batch_size, shuffle, prepare, shard
        )

    def _bordered(self, images: Tensor) -> Tensor:
        bordered = self._ready.bordered
        if self.how.crop not in bordered:
            with torch.inference_mode(False):  # a Trainer may be validating in it
                bordered[self.how.crop] = add_border(images, self.how.crop)
        return bordered[self.how.crop]

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation in the unit of the stored inputs."""
        mean, std = self.options["mean"], self.options["std"]
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
        """Return where training happens; the CPU while no Trainer is attached."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")


DEFAULTS: dict[str, Any] = {
    "batch_size": 128, "eval_batch_size": 512, "val_size": 0.1, "val_from": "train",
    "test_size": None, "train_size": None, "split_seed": 0, "mean": None, "std": None,
    "crop": 0, "flip": False, "cutout": 0, "image_size": None, "resize": None,
    "bad_images": "error", "in_memory": True, "workers": 0,
}  # fmt: skip
SPLIT_KEYS = ("val_size", "val_from", "test_size", "train_size", "split_seed")
AUGMENT_KEYS = ("crop", "flip", "cutout")


def _attempt(problems: list[str], build: Callable[[], Any]) -> Any:
    try:
        return build()
    except EfatError as error:
        problems += error.problems


def _check_options(given: dict[str, Any], problems: list[str]) -> None:
    for name, low in (("batch_size", 1), ("eval_batch_size", 1), ("workers", 0)):
        if type(given[name]) is not int or given[name] < low:
            problems.append(f"data.{name}: {given[name]!r} given; an int >= {low} is needed")
    if given["bad_images"] not in ("error", "skip"):
        problems.append(f"data.bad_images: {given['bad_images']!r} given; allowed: error, skip")
    if (given["mean"] is None) != (given["std"] is None):
        problems.append("data.mean, data.std: only one given; give both or neither")
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        problems.append(f"data: no such key: {', '.join(unknown)}; allowed: {', '.join(DEFAULTS)}")


def _contents(samples: Tensor | Samples, indices: NDArray[np.int64]) -> Array:
    return samples.numpy() if isinstance(samples, Tensor) else indices
