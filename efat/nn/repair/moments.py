"""Streaming mean and covariance of a layer's inputs: one K x K matrix per group."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from efat.nn.lowering import Conv, ConvTranspose, lower_inputs
from efat.nn.repair.gram import LARGEST, cuts

PIECE = 1 << 20
"""Elements of an im2col matrix at a time (4 MB in float32: larger pieces are slower)."""


class Moments:
    """Running moments of inputs `X[g, n, k]` and, with them, of errors `R[g, n, m]`.

    Rows are shifted by the mean of the first piece before they are multiplied, so that float32
    products do not cancel; sums are float64. With several blocks, rows are sampled (see `Gram`).

    Args:
        groups: Number of matrix products.
        k: Inputs of each product.
        m: Errors of each product; 0 for none.
        device: Device of the sums.
        block: Inputs of a block; None: all.
    """

    def __init__(
        self, groups: int, k: int, m: int, device: torch.device, block: int | None = None
    ) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(groups, *shape, dtype=torch.float64, device=device)

        self.rows = 0
        self.offset: Tensor | None = None
        size = block or k
        self.cuts, self.sample = cuts(k, size), RowSample(LARGEST) if size < k else None
        self.total, self.second = zeros(k), zeros(k, size)
        self.error_total, self.cross = zeros(m), zeros(k, m)

    def add(self, x: Tensor, error: Tensor | None = None) -> None:
        """Add inputs [g, n, k] and their errors [g, n, m]."""
        if self.sample:
            self.sample.add(x)
        if self.offset is None:
            self.offset = x.mean(dim=1, keepdim=True)
        x = x - self.offset
        transposed = x.transpose(1, 2)
        self.rows += x.shape[1]
        self.total += x.sum(dim=1, dtype=torch.float64)
        for cut in self.cuts:
            self.second[:, cut, : _size(cut)] += (transposed[:, cut] @ x[:, :, cut]).double()
        if error is not None:
            self.error_total += error.sum(dim=1, dtype=torch.float64)
            self.cross += (transposed @ error).double()

    @property
    def mean(self) -> Tensor:
        """Mean input, [g, k]."""
        shifted = self.total / self.rows
        return shifted if self.offset is None else shifted + self.offset[:, 0].double()

    @property
    def covariance(self) -> Tensor:
        """Covariance of each input with those of its block, [g, k, b]."""
        means, result = self.total / self.rows, torch.zeros_like(self.second)
        for cut in self.cuts:
            second, mean = self.second[:, cut, : _size(cut)], means[:, cut]
            covariance = second / self.rows - mean[:, :, None] * mean[:, None, :]
            result[:, cut, : _size(cut)] = (covariance + covariance.transpose(1, 2)) / 2
        return result

    @property
    def error_mean(self) -> Tensor:
        """Mean error, [g, m]."""
        return self.error_total / self.rows

    @property
    def error_covariance(self) -> Tensor:
        """Covariance of inputs and errors, [g, k, m]."""
        mean = self.total / self.rows
        return self.cross / self.rows - mean[:, :, None] * self.error_mean[:, None, :]


class RowSample:
    """A sample of evenly spaced rows of a stream, in their order.

    The sample depends on the number of rows alone, not on the pieces in which they are added.

    Args:
        most: Most rows of the sample; of more rows it holds every 2nd, 4th, ... one.
    """

    def __init__(self, most: int) -> None:
        self.most, self.step, self.seen = most, 1, 0
        self.pieces: list[Tensor] = []

    def add(self, x: Tensor) -> None:
        """Add rows [g, n, k]; the sample is float32."""
        taken = x[:, -self.seen % self.step :: self.step]
        self.pieces.append(taken.to(torch.float32, copy=True))
        self.seen += x.shape[1]
        while -(-self.seen // self.step) > self.most:
            self.pieces, self.step = [self.rows[:, ::2].contiguous()], 2 * self.step

    @property
    def rows(self) -> Tensor:
        """The sample, [g, n, k]."""
        return torch.cat(self.pieces, dim=1)


def _size(cut: slice) -> int:
    return int(cut.stop - cut.start)


def lowered_pieces(
    layer: Conv | ConvTranspose | nn.Linear, x: Tensor, k: int
) -> Iterator[tuple[slice, Tensor]]:
    """Cut a layer's input, batch first, and lower each piece to `X[g, n, k]`.

    Args:
        layer: The layer.
        x: Its input.
        k: Inputs of one product; it determines the size of a piece.

    Yields:
        Samples and their rows.
    """
    # at least one row per position of the input; strides give fewer
    per_sample = max(1, x[0].numel() // x.shape[-1 if isinstance(layer, nn.Linear) else 1])
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    step = max(1, PIECE // (per_sample * k * groups))
    for start in range(0, len(x), step):
        samples = slice(start, start + step)
        yield samples, lower_inputs(layer, x[samples]).flatten(2)
