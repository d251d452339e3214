"""What the maps of a fleet have in common: where, how much, and what of it is shared by many."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from efat.planning.bounds.branch_bound import Spectrum
from efat.planning.cost import Floats, Ints, Words, shared_counts

SHARED = 0.25
"""Share of the chips above which a PE that is faulty on them counts as shared."""
PIECE = 1 << 14
"""PEs that are looked at together."""

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
        """Which PE is faulty on which chip: 0 or 1 [chips, PEs]."""
        return np.unpackbits(self.words.view(np.uint8), axis=1)

    @cached_property
    def faulty(self) -> Bits:
        """The same the other way round [PEs, chips]: some PEs are read faster so."""
        return np.ascontiguousarray(self.maps.T)

    def block(self, pes: Mask, chips: Ints) -> Bits:
        """Take the PEs of a mask [PEs] on some chips [PEs of the mask, chips]."""
        # rows, then columns: both at once takes ten times as long
        return self.faulty.take(np.flatnonzero(pes), axis=0).take(chips, axis=1)

    @cached_property
    def shared(self) -> Mask:
        """PEs that are faulty on many chips [PEs]."""
        often: Mask = self.maps.sum(axis=0, dtype=np.int64) > SHARED * len(self.words)
        return often

    @cached_property
    def overlaps(self) -> Floats:
        """Faults that each pair of chips has in common [chips, chips]."""
        return shared_counts(self.words).astype(np.float64)

    def split(self, fused: Mask, candidates: Ints, gains: Floats, overlaps: Floats) -> OverlapSplit:
        """Split the PEs outside a fused map [PEs] into shared and unshared (`branch_bound`)."""
        block = self.block(self.shared & ~fused, candidates)
        block = block.astype(np.float32)
        often = block.sum(axis=1)
        shares = (block[often > 0] / often[often > 0, None]).sum(axis=0, dtype=np.float64)
        common = block.sum(axis=0, dtype=np.float64)
        area = max(1, self.pes - int((self.shared | fused).sum()))
        sizes = gains - common
        alike = overlaps - gram(block)
        return OverlapSplit(sizes, shares, area, Spectrum.of(sizes, alike, area), common, alike)


@dataclass(frozen=True)
class OverlapSplit:
    """Gains of candidates without shared PEs, and their shares [candidates]."""

    sizes: Floats
    shares: Floats
    area: int
    spectrum: Spectrum
    common: Floats
    overlaps: Floats

    def order(self) -> Ints:
        """Sort the candidates, first those that the bound knows least about."""
        unknown = self.sizes * self.spectrum.unrest + self.common - self.shares
        return np.argsort(-unknown, kind="stable")


def gram(block: Bits | NDArray[np.float32]) -> Floats:
    """Count what the columns of a matrix of 0 and 1 [PEs, chips] have in common [chips, chips].

    In single precision, which is exact up to 2^24 PEs, and piece by piece, to keep memory small.

    >>> gram(np.array([[1, 1], [0, 1]], np.uint8)).tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    """
    common = np.zeros((block.shape[1], block.shape[1]))
    for start in range(0, len(block), PIECE):
        piece = block[start : start + PIECE].astype(np.float32)
        common += piece.T @ piece
    return common
