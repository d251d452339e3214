"""Chips and fleets: fault maps drawn at random or read from a file (METHOD section 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efat import atomic
from efat.errors import EfatError, raise_problems
from efat.faults import FaultMap
from efat.mapping import SystolicArray
from efat.seeds import generator


@dataclass(frozen=True)
class Chip:
    """One faulty chip: its name and its fault map."""

    chip_id: str
    fault_map: FaultMap


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
        """Go through the chips in their order."""
        return iter(self.chips)

    def __len__(self) -> int:
        """Count the chips."""
        return len(self.chips)


def draw_fault_map(array: SystolicArray, fault_rate: float, rng: np.random.Generator) -> FaultMap:
    """Draw a uniform fault map with exactly `round(fault_rate * rows * cols)` faulty PEs.

    Raises:
        EfatError: A rate outside [0, 1].
    """
    if not 0 <= fault_rate <= 1:
        raise EfatError(f"fault rate: {fault_rate!r} given; a number in [0, 1] is needed")
    faulty = np.zeros(array.rows * array.cols, dtype=np.bool_)
    count = round(fault_rate * faulty.size)
    faulty[rng.choice(faulty.size, size=count, replace=False)] = True
    return FaultMap(faulty.reshape(array.rows, array.cols))


def uniform_fleet(
    array: SystolicArray, seed: int, chips: int, fault_rate: float | Sequence[float]
) -> Fleet:
    """Draw a fleet of uniformly faulty chips.

    Args:
        array: The array that all chips share.
        seed: The run's seed; chip `i` has a stream of its own, so more chips leave the first alone.
        chips: How many chips.
        fault_rate: One rate for all, or `[low, high]`: rates spread evenly over that range.

    Raises:
        EfatError: Fewer than one chip, or rates outside [0, 1] or out of order; all at once.
    """
    rates = [fault_rate, fault_rate] if isinstance(fault_rate, int | float) else list(fault_rate)
    problems = []
    if type(chips) is not int or chips < 1:
        problems.append(f"fleet.chips: {chips!r} given; an int >= 1 is needed")
    if len(rates) != 2 or not all(0 <= rate <= 1 for rate in rates) or rates[0] > rates[-1]:
        problems.append(
            f"fleet.fault_rate: {fault_rate!r} given; one rate in [0, 1] or [low, high] is needed"
        )
    raise_problems(problems)
    width = len(str(chips - 1))
    return Fleet(
        tuple(
            Chip(f"chip{i:0{width}d}", draw_fault_map(array, rate, generator(seed, "fleet", i)))
            for i, rate in enumerate(np.linspace(rates[0], rates[1], chips).tolist())
        )
    )


def file_fleet(array: SystolicArray, seed: int, path: str) -> Fleet:
    """Read a fleet of measured chips (see `load_fleet`) and check that it is of `array`.

    Args:
        array: The array that the chips must have.
        seed: Not used: a file is not random. Every fleet takes it.
        path: The file.
    """
    del seed
    fleet = load_fleet(Path(path))
    shape = fleet.chips[0].fault_map.shape
    if shape != (array.rows, array.cols):
        raise EfatError(
            f"fleet.path: {path} holds maps of {shape[0]}x{shape[1]} PEs; "
            f"the array has {array.rows}x{array.cols}; set array.rows and array.cols"
        )
    return fleet


def save_fleet(fleet: Fleet, path: Path) -> None:
    """Write a fleet as `.npz`: `chip_ids` (text) and `faulty` (bool [chips, rows, cols])."""
    buffer = BytesIO()
    np.savez_compressed(
        buffer,
        chip_ids=np.array([chip.chip_id for chip in fleet]),
        faulty=np.stack([chip.fault_map.faulty for chip in fleet]),
    )
    atomic.write_bytes(path, buffer.getvalue())


def load_fleet(path: Path) -> Fleet:
    """Read a fleet from `.npz` (see `save_fleet`) or a `.npy` stack (bool [chips, rows, cols]).

    Raises:
        EfatError: A missing, truncated or foreign file, a wrong type or shape; none is unpickled.
    """
    names, faulty = _read_arrays(path)
    if faulty.dtype != np.bool_ or faulty.ndim != 3 or faulty.size == 0:
        raise EfatError(
            f"{path}: maps of {faulty.dtype} with shape {faulty.shape} found; "
            "a boolean array [chips, rows, cols] is needed"
        )
    if names is None:
        names = np.array([f"chip{i:0{len(str(len(faulty) - 1))}d}" for i in range(len(faulty))])
    if names.dtype.kind != "U" or names.shape != faulty.shape[:1]:
        raise EfatError(f"{path}: chip_ids must be one text a chip, shape {faulty.shape[:1]}")
    return Fleet(tuple(Chip(str(n), FaultMap(m)) for n, m in zip(names, faulty, strict=True)))


def _read_arrays(path: Path) -> tuple[NDArray[Any] | None, NDArray[Any]]:
    """Return (chip ids or None, maps), with every way a file can be broken as one error type."""
    try:
        content = np.load(BytesIO(path.read_bytes()), allow_pickle=False)
        if isinstance(content, np.ndarray):
            return None, content
        return content["chip_ids"], content["faulty"]
    except KeyError as error:
        raise EfatError(
            f"{path}: no array named {error} in it; see efat.chips.save_fleet"
        ) from None
    except Exception as error:  # damaged bytes make NumPy and zipfile raise nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EfatError(
            f"{path}: not a readable fleet file ({reason}); a .npz or .npy file without pickled "
            "objects is needed"
        ) from None
