"""Augment and normalise whole batches of stored samples: the input that a network takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from efat.errors import checked

Count = Annotated[int, Field(ge=0, strict=True)]


@checked("data")
class Augmentation:
    """Random changes of a training image; none by default.

    Args:
        crop: Pixels of black border, of which a random crop of the image's size is taken (He et
            al., 2016: 4 for CIFAR).
        flip: Mirror every second image, on average, left to right.
        cutout: Side of a square, at a random place, set to the mean (DeVries & Taylor, 2017); it
            may stick out of the image. 0: none.

    Raises:
        EfatError: All wrong values at once.
    """

    crop: Count = 0
    flip: bool = False
    cutout: Count = 0


PLAIN = Augmentation()


@dataclass(frozen=True)
class Preparation:
    """Normalise a batch, and augment it first; callable as `efat.data.loaders.Take`.

    Args:
        mean: Of each channel, in the unit of the stored inputs, [1, channels, 1...] as they are.
        factor: One over the deviation, of the same shape.
        how: Augmentation; the inputs have its border.
    """

    mean: Tensor
    factor: Tensor
    how: Augmentation = PLAIN

    @classmethod
    def of(
        cls, mean: Tensor, std: Tensor, axes: int, how: Augmentation, device: torch.device
    ) -> Preparation:
        """Bring `mean` and `std` [channels] to the shape of inputs with `axes` axes."""
        shape = (1, -1, *[1] * (axes - 2))
        return cls(mean.reshape(shape).to(device), (1 / std).reshape(shape).to(device), how)

    def __call__(self, inputs: Tensor, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Take `inputs[batch]`; returns float32 [b, channels, ...] on the device of `inputs`."""
        if self.how.crop or self.how.flip:
            picked = take(inputs, batch, self.how, generator)
        else:
            picked = inputs.index_select(0, batch.to(inputs.device))
        prepared = torch.sub(picked, self.mean).mul_(self.factor)
        return cut_out(prepared, self.how.cutout, generator) if self.how.cutout else prepared


def add_border(images: Tensor, crop: int) -> Tensor:
    """Add `crop` black pixels on each side of [..., h, w]."""
    return functional.pad(images, (crop,) * 4) if crop else images


def channel_statistics(inputs: Tensor, piece: int = 4096) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each channel (axis 1), float32; a constant one has deviation 1.

    Works in pieces, since a whole set as double is eight times its size as uint8.
    """
    axes = [axis for axis in range(inputs.ndim) if axis != 1]
    count = inputs.numel() / inputs.shape[1]
    mean = torch.stack([p.double().sum(axes) for p in inputs.split(piece)]).sum(0) / count
    shape = (1, -1, *[1] * (inputs.ndim - 2))
    squares = [(p.double() - mean.reshape(shape)).square().sum(axes) for p in inputs.split(piece)]
    std = (torch.stack(squares).sum(0) / count).sqrt()
    return mean.float(), torch.where(std > 0, std, 1.0).float()


def take(images: Tensor, batch: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Return the images of a batch, cropped and flipped, in one pass over memory.

    Args:
        images: [samples, channels, h + 2 * crop, w + 2 * crop]: with their border.
        batch: Their indices, [b].
        how: The augmentation.
        generator: Of the random numbers, on the CPU.

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
