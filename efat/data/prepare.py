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
    """Normalise a batch, and augment it first; callable as `efat.data.tensors.Take`.

    Args:
        mean: One value a channel (axis 1), in the unit of the stored inputs.
        std: As `mean`.
        how: Augmentation; the inputs have its border.
    """

    mean: Tensor
    std: Tensor
    how: Augmentation = PLAIN

    def __call__(self, inputs: Tensor, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Take `inputs[batch]`; returns float32 [b, channels, ...] on the device of `inputs`."""
        if self.how.crop or self.how.flip:
            picked = take(inputs, batch, self.how, generator)
        else:
            picked = inputs[batch.to(inputs.device)]
        shape = (1, -1, *[1] * (picked.ndim - 2))
        mean, std = (t.to(picked.device).reshape(shape) for t in (self.mean, self.std))
        prepared = torch.sub(picked, mean).mul_(1 / std)
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
