"""Stored samples (arrays, encoded images, image files) and their decoding."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from efat.errors import EfatError

Array = NDArray[Any]


class BadImageError(EfatError):
    """An image that cannot be decoded."""


class Samples(Protocol):
    """One part of a data set (`train`, say).

    `targets` is [samples] of class indices (integers), or of any shape and type for other tasks.
    An input is uint8 [height, width] or [height, width, channels], or float of any shape.
    """

    @property
    def targets(self) -> Array: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Array:
        """Return one input; raises `BadImageError`, which names it."""
        ...


@dataclass(frozen=True)
class ArraySamples:
    """Inputs that lie in memory as one array [samples, ...]."""

    inputs: Array
    targets: Array

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.inputs)

    def __getitem__(self, index: int) -> Array:
        """Return one input."""
        one: Array = np.asarray(self.inputs[index])
        return one


@dataclass(frozen=True)
class ImageSamples:
    """Images that are still encoded (PNG, JPEG, ...).

    Args:
        images: Bytes of a file, path of a file, or None if the image is missing.
        targets: [samples].
        name: Of their source, for messages; the row follows for images in memory.
        mode: Pillow's mode to convert to (`RGB`, `L`); None keeps each image's own.
    """

    images: Sequence[bytes | Path | None]
    targets: Array
    name: str
    mode: str | None = None

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.images)

    def __getitem__(self, index: int) -> Array:
        """Decode one image."""
        image = self.images[index]
        name = str(image) if isinstance(image, Path) else f"{self.name}, row {index}"
        return decode(image, name, self.mode)


def decode(image: bytes | Path | None, name: str, mode: str | None = None) -> Array:
    """Decode an image to uint8 [height, width] or [height, width, channels].

    Raises:
        BadImageError: It is missing, truncated or of no known format.
    """
    try:
        if image is None:
            raise OSError("it is missing")
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            pixels: Array = np.asarray(_plain(opened, mode))
            return pixels
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        # Pillow raises SyntaxError for broken PNG chunks
        raise BadImageError(
            f"data: {name}: not a readable image ({str(error).splitlines()[0]}); repair it, or "
            "leave such images out with data.bad_images=skip"
        ) from None


def _plain(image: Image.Image, mode: str | None) -> Image.Image:
    """Convert to `mode`, or to the nearest mode of 8 bits a channel."""
    wanted = mode or ("L" if image.mode in ("1", "I;16", "L") else "RGB")
    return image if image.mode == wanted else image.convert(wanted)
