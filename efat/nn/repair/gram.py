"""Gram matrices, cut into blocks of inputs if a whole one would be too large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

LARGEST = 4608
"""Inputs of the largest whole Gram matrix: those of a 3x3 convolution of 512 channels.

170 MB of float64; layers with more inputs are cut into blocks of at most as many."""


@dataclass(frozen=True)
class Gram:
    """Moments of the inputs of one weight; covariances between two blocks are not stored.

    Args:
        mean: float64 [groups, k].
        covariance: Of each input with those of its block, float64 [groups, k, b], `b` the inputs of
            a block (`k` if there is one block). A narrower last block is padded with 0.
        rows: Sampled inputs of the layer, float32 [groups, n, k], if there is more than one block:
            the joint effect of the blocks is measured on them. All up to `LARGEST`, else every
            2nd, 4th, ... one.
    """

    mean: Tensor
    covariance: Tensor
    rows: Tensor | None = None

    @property
    def cuts(self) -> list[slice]:
        """The inputs of each block."""
        return cuts(self.covariance.shape[1], self.covariance.shape[2])

    def blocks(self, centred: bool) -> Iterator[tuple[slice, Tensor]]:
        """Yield inputs and matrix [groups, b, b] of each block, the matrix to fit with.

        Args:
            centred: Covariances, if the layer can absorb a shift; else second moments.
        """
        for cut in self.cuts:
            matrix, mean = self.covariance[:, cut, : cut.stop - cut.start], self.mean[:, cut]
            yield cut, matrix if centred else matrix + mean[:, :, None] * mean[:, None, :]


def block_size(k: int, taps: int, largest: int) -> int:
    """Return the inputs of a block: whole channels, blocks of much the same size.

    >>> [block_size(*given) for given in ((9216, 9, 4608), (25088, 1, 4608), (4608, 9, 4608))]
    [4608, 4182, 4608]

    Args:
        k: Inputs of the layer.
        taps: Inputs of a channel, which stay in one block.
        largest: Most inputs of a block, unless one channel has more.
    """
    channels = k // taps
    count = -(-channels // max(1, largest // taps))
    return taps * -(-channels // count)


def cuts(k: int, size: int) -> list[slice]:
    """Return the inputs of each block.

    >>> cuts(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, k)) for start in range(0, k, size)]
