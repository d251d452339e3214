"""Chips and fleets: fault maps with names."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from efat.errors import EfatError, raise_problems
from efat.hardware.fault_map import FaultMap
from efat.hardware.mapping import SystolicArray


@dataclass(frozen=True)
class Chip:
    """One faulty chip: its name and its fault map.

    Raises:
        EfatError: A name with control characters, which files and terminals cannot show.
    """

    chip_id: str
    fault_map: FaultMap

    def __post_init__(self) -> None:
        raise_problems(name_problems(self.chip_id))


@dataclass(frozen=True)
class Fleet:
    """Chips of one array, with distinct names.

    Raises:
        EfatError: No chip, a name used twice, or arrays of different shapes; all at once.
    """

    chips: tuple[Chip, ...]

    def __post_init__(self) -> None:
        problems = [] if self.chips else ["fleet: no chip in it; at least one is needed"]
        counts = Counter(chip.chip_id for chip in self.chips)
        problems += [
            f"chip {name!r}: used {n} times; names must differ"
            for name, n in counts.items()
            if n > 1
        ]
        shapes = {chip.fault_map.shape for chip in self.chips}
        if len(shapes) > 1:
            problems.append(f"fleet: arrays of shapes {sorted(shapes)} given; one shape is needed")
        raise_problems(problems)

    def __iter__(self) -> Iterator[Chip]:
        """Return an iterator over the chips, in their order."""
        return iter(self.chips)

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.chips)


def name_chips(fault_maps: Iterable[FaultMap], count: int) -> Fleet:
    """Return a fleet of `count` fault maps, named `chip0`, `chip1`, ... with equal widths."""
    width = len(str(count - 1))
    return Fleet(tuple(Chip(f"chip{i:0{width}d}", m) for i, m in enumerate(fault_maps)))


def name_problems(chip_id: str) -> list[str]:
    r"""Return the problems of a chip's name.

    >>> name_problems("wafer 3, die 7"), len(name_problems("die\x07"))
    ([], 1)
    """
    if chip_id.isprintable() or not any(unicodedata.category(c) in ("Cc", "Cs") for c in chip_id):
        return []
    return [f"chip {chip_id!r}: control characters found; text without them is needed"]


def check_array(fleet: Fleet, array: SystolicArray, source: str) -> Fleet:
    """Return `fleet`; raise `EfatError` if its chips, from `source`, are not of `array`."""
    check_shape(fleet.chips[0].fault_map.shape, array, source)
    return fleet


def check_shape(shape: tuple[int, int], array: SystolicArray, source: str) -> None:
    """Raise `EfatError` unless [rows, cols] are those of `array`."""
    rows, cols = shape
    if (rows, cols) != (array.rows, array.cols):
        raise EfatError(
            f"fleet: {source} holds maps of {rows}x{cols} PEs; "
            f"the array has {array.rows}x{array.cols}; set array.rows and array.cols"
        )
