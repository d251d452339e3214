"""Read the arrays of a NumPy file: images as uint8, or numbers of any kind."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from efat.data.datamodule import DataModule
from efat.data.files import stamp_files
from efat.data.samples import Array, ArraySamples, Samples
from efat.errors import EfatError


class NpzData(DataModule):
    """Arrays `x_train`, `y_train`, and `x_val`, `y_val`, `x_test`, `y_test` if they exist.

    Inputs are uint8 images [samples, height, width] or [samples, height, width, channels], or
    numbers [samples, ...], where each entry of axis 1 is normalised by itself.

    Args:
        path: The `.npz` file.
        options: Fields of `efat.data.datamodule.Options`.
    """

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(**options)
        self.path = Path(path)

    def stamp(self) -> str:
        if not self.path.is_file():
            raise EfatError(f"data.path: {str(self.path)!r} given; no such file; an .npz is needed")
        return stamp_files([self.path])

    def read(self) -> dict[str, Samples]:
        """Read the arrays; raises EfatError for a broken file or a missing array."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise EfatError(
                f"data.path: {self.path}: not a readable .npz file "
                f"({str(error).splitlines()[0] if str(error) else type(error).__name__})"
            ) from None
        return {
            part: _samples(self.path, part, arrays)
            for part in ("train", "val", "test")
            if part == "train" or f"x_{part}" in arrays
        }


def _samples(path: Path, part: str, arrays: dict[str, Array]) -> ArraySamples:
    missing = [name for name in (f"x_{part}", f"y_{part}") if name not in arrays]
    if missing:
        raise EfatError(
            f"data.path: {path} has no array {' and no '.join(missing)}; its arrays: "
            f"{', '.join(arrays) or 'none'}"
        )
    inputs, targets = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if len(inputs) != len(targets):
        raise EfatError(
            f"data.path: {path}: x_{part} has {len(inputs)} samples and y_{part} {len(targets)}"
        )
    return ArraySamples(inputs, targets)
