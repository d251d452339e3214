"""The fault map of one chip: the permanently faulty PEs of its array (METHOD section 2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efat.errors import EfatError


@dataclass(frozen=True, init=False, eq=False, repr=False)
class FaultMap:
    """An immutable boolean map [rows, cols]; True marks a faulty PE.

    It is bit-packed: a union is a bitwise OR, and a count is a popcount.

    Args:
        faulty: Boolean [rows, cols], rows and cols at least 1.

    Raises:
        EfatError: Wrong type or shape.

    >>> a, b = FaultMap([[True, False], [False, False]]), FaultMap([[False, True], [False, False]])
    >>> (a | b).fault_rate, (a | b).covers(a), a.covers(b)
    (0.5, True, False)
    """

    rows: int
    cols: int
    words: NDArray[np.uint64]

    def __init__(self, faulty: ArrayLike) -> None:
        grid = np.asarray(faulty)
        if grid.dtype != np.bool_ or grid.ndim != 2 or grid.size == 0:
            raise EfatError(
                f"fault map: {grid.dtype} of shape {grid.shape} given; "
                "a boolean array [rows, cols] with at least one PE is needed"
            )
        rows, cols = grid.shape
        self._fill(rows, cols, _pack(grid))

    def _fill(self, rows: int, cols: int, words: NDArray[np.uint64]) -> None:
        words.setflags(write=False)
        for name, value in (("rows", rows), ("cols", cols), ("words", words)):
            object.__setattr__(self, name, value)

    @classmethod
    def none(cls, rows: int, cols: int) -> FaultMap:
        """Return the map of a fault-free chip."""
        return cls(np.zeros((rows, cols), dtype=np.bool_))

    @classmethod
    def from_words(cls, rows: int, cols: int, words: NDArray[np.uint64]) -> FaultMap:
        """Wrap bit-packed faults (see `words`) without copying them.

        Args:
            rows: PEs along the reduction.
            cols: PEs along the output channels.
            words: uint64 [ceil(rows * cols / 64)]; its bytes are the row-major bits, most
                significant first; the bits beyond the last PE are 0. Becomes read-only.

        Raises:
            EfatError: Wrong type or length, or padding bits that are set.
        """
        count = words_needed(rows, cols)
        if words.dtype != np.uint64 or words.shape != (count,):
            raise EfatError(
                f"fault map: words of {words.dtype} with shape {words.shape} given; "
                f"uint64 of shape ({count},) is needed for {rows}x{cols} PEs"
            )
        padding = np.unpackbits(words[-1:].view(np.uint8))[(rows * cols - 1) % 64 + 1 :]
        if padding.any():
            raise EfatError(f"fault map: bits beyond PE {rows * cols - 1} are set; 0 is needed")
        packed = object.__new__(cls)
        packed._fill(rows, cols, words)
        return packed

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the array."""
        return self.rows, self.cols

    @property
    def faulty(self) -> NDArray[np.bool_]:
        """The map as a fresh boolean array [rows, cols]."""
        bits = np.unpackbits(self.words.view(np.uint8), count=self.rows * self.cols)
        return bits.astype(np.bool_).reshape(self.shape)

    @cached_property
    def fault_count(self) -> int:
        """Number of faulty PEs."""
        return int(np.bitwise_count(self.words).sum())

    @property
    def fault_rate(self) -> float:
        """Share of faulty PEs, in [0, 1]."""
        return self.fault_count / (self.rows * self.cols)

    @cached_property
    def key(self) -> str:
        """Content hash (SHA-256, hex) of shape and faults: equal maps, equal keys."""
        head = f"{self.rows}x{self.cols}:".encode()
        return hashlib.sha256(head + self.words.tobytes()).hexdigest()

    def __or__(self, other: FaultMap) -> FaultMap:
        """Fuse two fault maps: a PE is faulty if it is faulty in either."""
        self._check_shape(other)
        fused = object.__new__(FaultMap)
        fused._fill(self.rows, self.cols, self.words | other.words)
        return fused

    def covers(self, other: FaultMap) -> bool:
        """Return whether every faulty PE of `other` is faulty in this map (METHOD fact 2b)."""
        self._check_shape(other)
        return not np.any(other.words & ~self.words)

    def _check_shape(self, other: FaultMap) -> None:
        if self.shape != other.shape:
            raise EfatError(
                f"fault maps: arrays of {self.rows}x{self.cols} and {other.rows}x{other.cols} PEs "
                "cannot be combined; use chips of one array"
            )

    def content(self) -> dict[str, str]:
        """Return the content hash, for the keys of stored results."""
        return {"fault_map": self.key}

    def __eq__(self, other: object) -> bool:
        """Compare by content."""
        return isinstance(other, FaultMap) and self.key == other.key

    def __hash__(self) -> int:
        """Hash by content."""
        return hash(self.key)

    def __repr__(self) -> str:
        """Return the shape and the number of faults; the map itself is too large to print."""
        return f"FaultMap({self.rows}x{self.cols}, {self.fault_count} faulty)"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the constructor, so that a copy is read-only and checked."""
        return FaultMap, (self.faulty,)


def words_needed(rows: int, cols: int) -> int:
    """Return the number of 64-bit words of a packed map.

    >>> words_needed(8, 8), words_needed(8, 9)
    (1, 2)
    """
    return -(-rows * cols // 64)


def _pack(grid: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack row-major bits into whole 64-bit words; the padding bits are 0."""
    packed = np.packbits(grid)
    padded = np.zeros(8 * words_needed(*grid.shape), dtype=np.uint8)
    padded[: packed.size] = packed
    return padded.view(np.uint64)
