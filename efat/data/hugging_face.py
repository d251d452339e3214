"""Read data sets of the Hugging Face hub, or local files, with the library `datasets`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from efat.data.datamodule import DataModule
from efat.data.files import PART_NAMES
from efat.data.samples import Array, Samples, decode
from efat.errors import EfatError, raise_problems


class HubData(DataModule):
    """`datasets.load_dataset(path, name)`: memory-mapped, so also for sets larger than memory.

    Args:
        path: Name on the hub (`uoft-cs/cifar10`), or `parquet`, `imagefolder`, ... with files.
        name: One of its configurations, or None.
        image: Column of images.
        label: Column of class indices.
        data_files: Files by part, or None.
        image_mode: Pillow's mode to convert to (`RGB`, `L`); None keeps each image's own.
        options: Fields of `efat.data.datamodule.Options`.
    """

    def __init__(
        self,
        path: str,
        name: str | None = None,
        image: str = "image",
        label: str = "label",
        data_files: Mapping[str, Any] | None = None,
        image_mode: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.path, self.name, self.image, self.label = path, name, image, label
        self.data_files = dict(data_files) if data_files else None
        self.image_mode = image_mode

    def stamp(self) -> str:
        return repr((self.path, self.name, self.image, self.label, self.data_files))

    def read(self) -> dict[str, Samples]:
        """Load the data set; raises EfatError without the library, the network or a column."""
        loaded = _load(self.path, self.name, self.data_files)
        names = {part: [n for n in known if n in loaded] for part, known in PART_NAMES.items()}
        return {part: self._samples(part, loaded[n[0]]) for part, n in names.items() if n}

    def _samples(self, part: str, dataset: Any) -> Samples:
        import datasets

        raise_problems(
            f"data: {self.path} has no column {column!r}; its columns: "
            f"{', '.join(dataset.column_names)}; set data.image and data.label"
            for column in (self.image, self.label)
            if column not in dataset.column_names
        )
        targets = np.asarray(dataset[self.label][:])
        encoded = dataset.cast_column(self.image, datasets.Image(decode=False))
        return HubSamples(encoded, self.image, targets, f"{self.path} {part}", self.image_mode)


@dataclass(frozen=True)
class HubSamples:
    """Images of a `datasets.Dataset`, not yet decoded."""

    dataset: Any
    image: str
    targets: Array
    name: str
    mode: str | None

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.targets)

    def __getitem__(self, index: int) -> Array:
        """Decode one image."""
        cell = self.dataset[int(index)][self.image]
        data = cell["bytes"] or (cell["path"] and _read(cell["path"]))
        return decode(data, f"{self.name}, row {index}", self.mode)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - may be a path inside an archive
        return file.read()


def _load(path: str, name: str | None, data_files: dict[str, Any] | None) -> Any:
    try:
        import datasets
    except ImportError:
        raise EfatError(
            "data: the Hugging Face loader needs datasets; pip install 'efat[hf]'"
        ) from None
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(path, name, data_files=data_files)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EfatError(
            f"data.path: {path!r} could not be loaded ({first}); without a network, give local "
            "files: data.path=parquet and data.data_files, or data=parquet"
        ) from None
