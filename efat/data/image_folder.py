"""Read a folder of images, one folder per class, as ImageNet is usually laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from efat.data.datamodule import DataModule
from efat.data.files import find_parts
from efat.data.samples import ImageSamples, Samples
from efat.errors import EfatError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


class FolderData(DataModule):
    """`train/<class>/*.png` (`.jpg`, ...), and `val/` and `test/` if they exist.

    Classes are numbered in the order of the names of their folders.

    Args:
        path: The folder.
        image_mode: Pillow's mode to convert to (`RGB`, `L`); None keeps each image's own.
        val_is_test: Take `val/` as the test split, as is usual for ImageNet, whose test labels are
            secret; validation is then cut off `train/`.
        options: Fields of `efat.data.datamodule.Options`.
    """

    def __init__(
        self,
        path: str,
        image_mode: str | None = "RGB",
        val_is_test: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.path, self.image_mode, self.val_is_test = Path(path), image_mode, val_is_test

    def stamp(self) -> str:
        classes = [
            (str(folder.absolute()), folder.stat().st_mtime_ns)
            for part in find_parts(self.path, "").values()
            for place in part
            for folder in sorted(place.iterdir())
        ]
        return f"{classes} {self.image_mode} {self.val_is_test}"

    def read(self) -> dict[str, Samples]:
        """List the files; raises EfatError where a part has other classes than `train`."""
        folders = {part: places[0] for part, places in find_parts(self.path, "").items()}
        if self.val_is_test:
            if "val" not in folders:
                raise EfatError(f"data.val_is_test: true given, but {self.path} has no folder val")
            folders["test"] = folders.pop("val")
        classes = _classes(folders["train"])
        return {part: self._read_part(folder, classes) for part, folder in folders.items()}

    def _read_part(self, folder: Path, classes: list[str]) -> ImageSamples:
        unknown = sorted(set(_classes(folder)) - set(classes))
        if unknown:
            raise EfatError(
                f"data: {folder} has classes that train lacks: {', '.join(unknown[:5])}"
            )
        files = [
            (path, index)
            for index, name in enumerate(classes)
            if (folder / name).is_dir()
            for path in sorted((folder / name).rglob("*"))
            if path.suffix.lower() in SUFFIXES
        ]
        paths, targets = [path for path, _ in files], [index for _, index in files]
        return ImageSamples(paths, np.array(targets, np.int64), str(folder), self.image_mode)


def _classes(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
