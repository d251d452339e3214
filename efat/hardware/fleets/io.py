"""Read and write fleets as streams; files are checked in full and never unpickled.

- `.npz` (efat's own): `shape` int64 [rows, cols]; `chip_ids` text [chips]; `words` uint64 [chips,
  ceil(rows*cols/64)], faults bit-packed (`FaultMap.words`); `sha256` text, the hash of the rest.
- `.npy` (a stack of fault maps): bool [chips, rows, cols], C order; chips are named by number.
- `.csv` (a list from a tester): header `chip_id,row,col`, one faulty PE per line, rows and columns
  from 0; blank lines and spaces around a field are ignored. A chip without faults has no line, so
  it cannot be in such a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from efat.errors import EfatError
from efat.hardware.chip import Fleet, check_array
from efat.hardware.fleets.csv import read_csv
from efat.hardware.fleets.npz import read_npy, read_npz, write_npz
from efat.hardware.mapping import SystolicArray
from efat.io import write_atomically


def file_fleet(array: SystolicArray, seed: int, path: str) -> Fleet:
    """Read a fleet of measured chips (see `load_fleet`).

    Args:
        array: The array that the chips must have.
        seed: Not used; every fleet has this argument.
        path: The file.
    """
    del seed
    return load_fleet(Path(path), array)


def load_fleet(path: Path | str, array: SystolicArray | None = None) -> Fleet:
    """Read a fleet from a `.npz`, `.npy` or `.csv` file.

    100,000 chips of 256x256 PEs take 0.8 GB, packed, and little more during the reading.

    Args:
        path: The file.
        array: The array that the chips must have; required for a `.csv`, which has no sizes.

    Raises:
        EfatError: A missing, truncated or foreign file, wrong types, shapes or hash, a repeated
            chip name, a bad line (with its number), or chips of another array.
    """
    readers: dict[str, Callable[[BinaryIO, SystolicArray | None], Fleet]] = {
        ".npz": read_npz,
        ".npy": read_npy,
        ".csv": read_csv,
    }
    path = Path(path)
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise EfatError(f"fleet.path: {path} given; a .npz, .npy or .csv file is needed")
    with _as_efat_errors(path), path.open("rb") as stream:
        fleet = reader(stream, array)
        return fleet if array is None else check_array(fleet, array, str(path))


def check_fleet_file(path: Path | str) -> None:
    """Raise the errors of `load_fleet` that do not depend on the array.

    A `.csv` has no array sizes, so only its existence is checked.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        load_fleet(path)
        return
    with _as_efat_errors(path), path.open("rb"):
        pass


def save_fleet(fleet: Fleet, path: Path | str) -> None:
    """Write a fleet as `.npz`; the module describes the format."""
    with write_atomically(Path(path)) as stream:
        write_npz(fleet, stream)


@contextmanager
def _as_efat_errors(path: Path) -> Iterator[None]:
    """Convert every exception of a broken file into `EfatError`."""
    try:
        yield
    except EfatError as error:
        named = (p if str(path) in p else f"{path}: {p}" for p in error.problems)
        raise EfatError(named) from None
    except FileNotFoundError:
        raise EfatError(
            f"fleet.path: {path} given; no such file; give a .npz, .npy or .csv file, by its whole "
            "path or from the folder in which efat was started"
        ) from None
    except Exception as error:  # zip, zlib, NumPy headers and decoders raise a dozen types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EfatError(
            f"{path}: not a readable fleet file ({reason}); write one with "
            "efat.hardware.fleets.save_fleet"
        ) from None
