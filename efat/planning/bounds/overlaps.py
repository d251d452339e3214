"""The overlaps of a fleet's fault maps: how much pairs share, and which PEs many chips share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from efat.planning.bounds.branch_bound import Spectrum
from efat.planning.cost import Floats, Ints, Words, shared_counts

SHARED = 0.25
"""A PE counts as shared where it is faulty on more than this share of the chips."""
PIECE = 1 << 14
"""PEs that are counted together."""

Bits = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FleetOverlaps:
    """The maps of a fleet, packed and unpacked.

    Args:
        words: Packed maps [chips, words].
        pes: PEs of the array.
    """

    words: Words
    pes: int

    @cached_property
    def maps(self) -> Bits:
        """1 where a PE is faulty, else 0 [chips, PEs]."""
        return np.unpackbits(self.words.view(np.uint8), axis=1)

    @cached_property
    def faulty(self) -> Bits:
        """The transpose of `maps` [PEs, chips], from which some PEs are read faster."""
        return np.ascontiguousarray(self.maps.T)

    def block(self, pes: Mask, chips: Ints) -> Bits:
        """Take the PEs of a mask [PEs] on some chips [PEs of the mask, chips]."""
        # rows, then columns: both at once takes ten times as long
        return self.faulty.take(np.flatnonzero(pes), axis=0).take(chips, axis=1)

    @cached_property
    def shared(self) -> Mask:
        """Mask of the PEs that are faulty on many chips [PEs]."""
        frequent: Mask = self.maps.sum(axis=0, dtype=np.int64) > SHARED * len(self.words)
        return frequent

    @cached_property
    def overlaps(self) -> Floats:
        """Faults that each pair of chips shares [chips, chips]."""
        return shared_counts(self.words).astype(np.float64)

    def split(self, fused: Mask, candidates: Ints, gains: Floats, overlaps: Floats) -> OverlapSplit:
        """Split the PEs outside a fused map [PEs] into shared and unshared (`branch_bound`)."""
        block = self.block(self.shared & ~fused, candidates)
        block = block.astype(np.float32)
        frequent = block.sum(axis=1)
        shares = (block[frequent > 0] / frequent[frequent > 0, None]).sum(axis=0, dtype=np.float64)
        shared_gains = block.sum(axis=0, dtype=np.float64)
        area = max(1, self.pes - int((self.shared | fused).sum()))
        sizes = gains - shared_gains
        unshared = overlaps - gram(block)
        return OverlapSplit(
            sizes, shares, area, Spectrum.of(sizes, unshared, area), shared_gains, unshared
        )


@dataclass(frozen=True)
class OverlapSplit:
    """The parts of a branch that its bound is made of.

    Args:
        sizes: Gains without shared PEs [candidates].
        shares: Shares of the shared PEs [candidates].
        area: PEs neither shared nor in the fused map, at least 1.
        spectrum: Overlaps of sizes beyond those of independent maps.
        shared_gains: Gains on shared PEs [candidates].
        overlaps: Overlaps of pairs without shared PEs [candidates, candidates].
    """

    sizes: Floats
    shares: Floats
    area: int
    spectrum: Spectrum
    shared_gains: Floats
    overlaps: Floats

    def order(self) -> Ints:
        """Sort the candidates, starting with those that the bound knows least about."""
        unknown = self.sizes * self.spectrum.excess_weights + self.shared_gains - self.shares
        return np.argsort(-unknown, kind="stable")


def gram(block: Bits | NDArray[np.float32]) -> Floats:
    """Count the ones that columns of a matrix of 0 and 1 [PEs, chips] share [chips, chips].

    Uses single precision, which is exact up to 2^24 PEs, and small pieces, to save memory.

    >>> gram(np.array([[1, 1], [0, 1]], np.uint8)).tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    """
    counts = np.zeros((block.shape[1], block.shape[1]))
    for start in range(0, len(block), PIECE):
        piece = block[start : start + PIECE].astype(np.float32)
        counts += piece.T @ piece
    return counts
