"""Bring images to one size and layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from efat.data.samples import Array
from efat.errors import checked

Pixels = Annotated[int, Field(ge=1, strict=True)]


@checked("data")
class Sizing:
    """Resize the shorter side, then cut the middle out.

    Args:
        image_size: Pixels of each side afterwards; None leaves images as they are.
        resize: Pixels of the shorter side before the cut; None takes `image_size`.

    Raises:
        EfatError: All wrong values at once.
    """

    image_size: Pixels | None = None
    resize: Pixels | None = None

    def problems(self) -> Iterator[str]:
        if self.resize is not None and self.resize < (self.image_size or 1e9):
            size = self.image_size
            yield f"data.resize: {self.resize} given; at least data.image_size ({size}) is needed"


def to_tensor(sample: Array, sizing: Sizing) -> Tensor:
    """Turn an image [h, w] or [h, w, channels] into uint8 [channels, h, w]; others as they are.

    Floating-point samples become float32.
    """
    if sample.dtype != np.uint8 or sample.ndim < 2:
        return torch.from_numpy(np.asarray(sample, dtype=np.float32))
    if sizing.image_size is not None:
        sample = _resized(sample, sizing.image_size, sizing.resize or sizing.image_size)
    image = sample[None] if sample.ndim == 2 else sample.transpose(2, 0, 1)
    return torch.from_numpy(np.array(image, order="C"))  # a copy: Pillow's memory is read-only


def _resized(sample: Array, side: int, shorter: int) -> Array:
    height, width = sample.shape[:2]
    factor = shorter / min(height, width)
    size = (max(side, round(width * factor)), max(side, round(height * factor)))
    flat = sample[..., 0] if sample.shape[2:] == (1,) else sample
    image = Image.fromarray(flat).resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    cut: Array = np.asarray(image.crop((left, top, left + side, top + side)))
    return cut
