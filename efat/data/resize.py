"""Bringing images to one size and layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from efat.data.samples import Array
from efat.errors import raise_problems


@dataclass(frozen=True)
class Sizing:
    """Resize the shorter side, then cut the middle out.

    Args:
        image_size: Pixels of each side afterwards; None leaves images as they are.
        resize: Pixels of the shorter side before the cut; None takes `image_size`.

    Raises:
        EfatError: All wrong values at once.
    """

    image_size: int | None = None
    resize: int | None = None

    def __post_init__(self) -> None:
        problems = [
            f"data.{name}: {value!r} given; an int >= 1 or null is needed"
            for name, value in (("image_size", self.image_size), ("resize", self.resize))
            if value is not None and (type(value) is not int or value < 1)
        ]
        if not problems and self.resize is not None and self.resize < (self.image_size or 1e9):
            problems.append(
                f"data.resize: {self.resize} given; at least data.image_size ({self.image_size})"
            )
        raise_problems(problems)


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
