"""Read Parquet files with an image column, the format of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from efat.data.datamodule import DataModule
from efat.data.files import find_parts, stamp_files
from efat.data.samples import Array, ImageSamples, Samples
from efat.errors import EfatError, raise_problems


class ParquetData(DataModule):
    """`train*.parquet`, and `test*.parquet` and `validation*.parquet` if they exist.

    Args:
        path: The folder.
        image: Column of encoded images: bytes, or a struct with `bytes`.
        label: Column of class indices or numbers.
        image_mode: Pillow's mode to convert to (`RGB`, `L`); None keeps each image's own.
        options: Fields of `efat.data.datamodule.Options`.
    """

    def __init__(
        self,
        path: str,
        image: str = "image",
        label: str = "label",
        image_mode: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.path, self.image, self.label = Path(path), image, label
        self.image_mode = image_mode

    def stamp(self) -> str:
        files = [file for part in find_parts(self.path, ".parquet").values() for file in part]
        return f"{stamp_files(files)} {self.image} {self.label} {self.image_mode}"

    def read(self) -> dict[str, Samples]:
        """Read the columns; raises EfatError for a missing one, a broken file, no pyarrow."""
        return {
            part: self._read_part(files)
            for part, files in find_parts(self.path, ".parquet").items()
        }

    def _read_part(self, files: list[Path]) -> ImageSamples:
        images: list[bytes | Path | None] = []
        labels = []
        for file in files:
            table = _read_table(file, (self.image, self.label))
            images += [_bytes_of(cell) for cell in table[self.image].to_pylist()]
            labels.append(_labels_of(table[self.label], file, self.label))
        name = ", ".join(map(str, files))
        return ImageSamples(images, np.concatenate(labels), name, self.image_mode)


def _read_table(file: Path, columns: tuple[str, ...]) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise EfatError("data: reading parquet needs pyarrow; pip install 'efat[data]'") from None
    try:
        existing = pyarrow.parquet.read_schema(file).names
        raise_problems(
            f"data: {file} has no column {column!r}; its columns: {', '.join(existing)}; set "
            "data.image and data.label"
            for column in columns
            if column not in existing
        )
        return pyarrow.parquet.read_table(file, columns=list(columns))
    except (pyarrow.ArrowException, OSError) as error:
        raise EfatError(
            f"data.path: {file}: not a readable parquet file ({str(error).splitlines()[0]})"
        ) from None


def _bytes_of(cell: Any) -> bytes | None:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return data if isinstance(data, bytes) else None


def _labels_of(column: Any, file: Path, name: str) -> Array:
    if column.null_count:
        raise EfatError(f"data: {file}: {column.null_count} rows have no {name!r}; leave them out")
    labels: Array = np.asarray(column.to_numpy())
    return labels
