"""From stored samples to what a network takes: augmented, float, normalised; whole batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from efat.data.augment import Augmentation, cut_out, take

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
