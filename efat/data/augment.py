"""Random crops, flips and cutout of whole batches of images, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from efat.errors import raise_problems


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image; nothing by default.

    Args:
        crop: Pixels of black border, of which a random crop of the image's size is taken (He et
            al., 2016: 4 for CIFAR).
        flip: Mirror every second image, on average, left to right.
        cutout: Side of a square, at a random place, set to the mean (DeVries & Taylor, 2017); it
            may stick out of the image. 0: none.

    Raises:
        EfatError: All wrong values at once.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        raise_problems(
            f"data.{name}: {value!r} given; an int >= 0 is needed"
            for name, value in (("crop", self.crop), ("cutout", self.cutout))
            if type(value) is not int or value < 0
        )


def take(images: Tensor, batch: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Return the images of a batch, cropped and flipped, in one pass over memory.

    Args:
        images: [samples, channels, h + 2 * crop, w + 2 * crop]: with their border.
        batch: Which of them, [b].
        how: What to do.
        generator: Draws where, on the CPU.

    Returns:
        [b, channels, h, w], of the same type.
    """
    height, width = (side - 2 * how.crop for side in images.shape[2:])
    windows = images.unfold(2, height, 1).unfold(3, width, 1)  # a view; no pixel is copied
    rows, cols = torch.randint(2 * how.crop + 1, (2, len(batch)), generator=generator)
    at, rows, cols = (index.to(images.device) for index in (batch, rows, cols))
    cropped = windows[at, :, rows, cols]
    if not how.flip:
        return cropped
    mirrored = (torch.rand(len(batch), generator=generator) < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], cropped.flip(3), cropped)


def cut_out(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Set a square of each normalised image [b, channels, h, w] to 0, the mean; in place."""
    count, height, width = len(images), *images.shape[2:]
    hidden = []
    for size in (height, width):
        first = torch.randint(size, (count, 1), generator=generator) - side // 2
        offset = torch.arange(size) - first
        hidden.append(((offset >= 0) & (offset < side)).to(images.device))
    return images.masked_fill_(hidden[0][:, None, :, None] & hidden[1][:, None, None, :], 0)
