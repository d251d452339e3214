"""Fleets in files: read and written as streams, checked in full, never unpickled.

- `.npz` (efat's own): `shape` int64 [rows, cols]; `chip_ids` text [chips]; `words` uint64 [chips,
  ceil(rows*cols/64)], faults bit-packed (`FaultMap.words`); `sha256` text, the hash of the rest.
- `.npy` (a stack from elsewhere): bool [chips, rows, cols], C order; chips are named by number.
- `.csv` (a list from a tester): header `chip_id,row,col`, one faulty PE a line, rows and columns
  counted from 0; blank lines and spaces around a field do not count. A chip without faults has no
  line, so it cannot be in such a file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from efat import atomic
from efat.chips import Chip, Fleet, check_array, check_shape, name_chips, name_problems
from efat.errors import EfatError
from efat.faults import FaultMap, words_needed
from efat.mapping import SystolicArray

CHUNK_BYTES = 1 << 20
MEMBERS = ("shape", "chip_ids", "words", "sha256")
LONGEST_NAME = 1000
"""Characters of a chip's name, at most, in a `.npz`, where all take the room of the longest."""

PROBLEMS_SHOWN = 20
"""A file with thousands of bad lines gets this many named, and the number of the rest."""


def file_fleet(array: SystolicArray, seed: int, path: str) -> Fleet:
    """Read a fleet of measured chips (see `load_fleet`).

    Args:
        array: The array that the chips must have.
        seed: Not used: a file is not random. Every fleet takes it.
        path: The file.
    """
    del seed
    return load_fleet(Path(path), array)


def load_fleet(path: Path | str, array: SystolicArray | None = None) -> Fleet:
    """Read a fleet from a `.npz`, `.npy` or `.csv` file.

    100,000 chips of 256x256 PEs take 0.8 GB, packed, and little more while they are read.

    Args:
        path: The file.
        array: The array that the chips must have; a `.csv` does not say, so it needs one.

    Raises:
        EfatError: A missing, truncated or foreign file, wrong types, shapes or hash, a chip named
            twice, a bad line (its number is named), or chips of another array.
    """
    readers: dict[str, Callable[[BinaryIO, SystolicArray | None], Fleet]] = {
        ".npz": _read_npz,
        ".npy": _read_npy,
        ".csv": _read_csv,
    }
    path = Path(path)
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise EfatError(f"fleet.path: {path} given; a .npz, .npy or .csv file is needed")
    with _as_efat_errors(path), path.open("rb") as stream:
        fleet = reader(stream, array)
        return fleet if array is None else check_array(fleet, array, str(path))


def save_fleet(fleet: Fleet, path: Path) -> None:
    """Write a fleet as `.npz`, chip by chip; see the module for what is in it."""
    rows, cols = fleet.chips[0].fault_map.shape
    ids = np.array([chip.chip_id for chip in fleet])
    count = words_needed(rows, cols)
    with (
        atomic.writer(path) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        _write_member(archive, "shape", np.array([rows, cols]))
        _write_member(archive, "chip_ids", ids)
        _write_member(archive, "sha256", np.array(fleet_hash(fleet)))
        with archive.open(_member("words"), "w", force_zip64=True) as member:
            header = {"descr": "<u8", "fortran_order": False, "shape": (len(fleet), count)}
            np.lib.format.write_array_header_1_0(member, header)
            for chip in fleet:
                member.write(chip.fault_map.words.astype("<u8").tobytes())


def fleet_hash(fleet: Fleet) -> str:
    """Return the content hash (SHA-256, hex) of names, shape and faults, in their order."""
    digest = hashlib.sha256()
    for chip in fleet:
        name = chip.chip_id.encode("utf-8", "surrogatepass")
        digest.update(f"{len(name)}:".encode() + name + bytes.fromhex(chip.fault_map.key))
    return digest.hexdigest()


@contextmanager
def _as_efat_errors(path: Path) -> Iterator[None]:
    """Turn every way in which foreign bytes can be broken into the one error type."""
    try:
        yield
    except EfatError as error:
        named = (p if str(path) in p else f"{path}: {p}" for p in error.problems)
        raise EfatError(named) from None
    except Exception as error:  # zip, zlib, NumPy headers and decoders raise a dozen types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EfatError(
            f"{path}: not a readable fleet file ({reason}); write one with efat.fleets.save_fleet"
        ) from None


def _write_member(archive: zipfile.ZipFile, name: str, values: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, allow_pickle=False)
    archive.writestr(_member(name), buffer.getvalue())


def _member(name: str) -> zipfile.ZipInfo:
    """Describe a member without the time, so that the same fleet is the same file."""
    info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _read_npz(stream: BinaryIO, array: SystolicArray | None) -> Fleet:
    with zipfile.ZipFile(stream) as archive:
        missing = {f"{name}.npy" for name in MEMBERS} - set(archive.namelist())
        if missing:
            raise EfatError(f"no {', '.join(sorted(missing))} in it; efat's .npz is needed")
        rows, cols = _check_members(archive, array)
        ids, words, digest = (_read_member(archive, name) for name in MEMBERS[1:])
    words = words.astype(np.uint64, copy=False)
    maps = (FaultMap.from_words(rows, cols, packed) for packed in words)
    fleet = Fleet(tuple(Chip(n, m) for n, m in zip(ids.tolist(), maps, strict=True)))
    if str(digest) != fleet_hash(fleet):
        raise EfatError("sha256: does not fit the content; the file was changed or damaged")
    return fleet


def _check_members(archive: zipfile.ZipFile, array: SystolicArray | None) -> tuple[int, int]:
    """Return [rows, cols] once all headers fit: no large body of a wrong file is ever read."""
    headers = {name: _member_header(archive, name) for name in MEMBERS}
    (shape, kind), (id_shape, id_kind), (word_shape, word_kind), (hash_shape, hash_kind) = (
        headers[name] for name in MEMBERS
    )
    if kind.kind != "i" or shape != (2,) or (given := _read_member(archive, "shape")).min() < 1:
        raise EfatError(f"shape: {kind} of shape {shape} found; [rows, cols] is needed")
    rows, cols = given.tolist()
    if array is not None:
        check_shape((rows, cols), array, "the file")
    wanted = (id_shape[0] if len(id_shape) == 1 else 0, words_needed(rows, cols))
    if id_kind.kind != "U" or word_kind != np.dtype("<u8") or word_shape != wanted:
        raise EfatError(
            f"chip_ids of {id_kind} {id_shape} and words of {word_kind} {word_shape} found; "
            f"text [chips] and uint64 [chips, {wanted[1]}] are needed for {rows}x{cols} PEs"
        )
    if id_kind.itemsize > 4 * LONGEST_NAME:
        raise EfatError(f"chip_ids: {id_kind} found; names of {LONGEST_NAME} characters are read")
    if hash_kind != np.dtype("<U64") or hash_shape != ():
        raise EfatError(f"sha256: {hash_kind} of shape {hash_shape} found; <U64 is needed")
    return rows, cols


def _member_header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        return _read_header(member, info.file_size, name)


def _read_member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array into memory that is allocated only once its size is known to be true."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        return _read_array(member, info.file_size, name)


def _read_npy(stream: BinaryIO, _: SystolicArray | None) -> Fleet:
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    shape, dtype = _read_header(stream, size, "stack")
    if dtype != np.bool_ or len(shape) != 3 or 0 in shape:
        raise EfatError(f"{dtype} of shape {shape} found; bool [chips, rows, cols] is needed")
    chips, rows, cols = shape
    return name_chips((FaultMap(_read_bools(stream, rows, cols)) for _ in range(chips)), chips)


def _read_bools(stream: BinaryIO, rows: int, cols: int) -> NDArray[np.bool_]:
    raw = np.frombuffer(stream.read(rows * cols), np.uint8).reshape(rows, cols)
    if raw.max() > 1:
        raise EfatError(f"byte {raw.max()} found; a boolean is 0 or 1")
    return raw.astype(np.bool_)


def _read_array(stream: Any, size: int, name: str) -> NDArray[Any]:
    """Read a whole `.npy` of `size` bytes, a chunk at a time."""
    shape, dtype = _read_header(stream, size, name)
    out = np.empty(shape, dtype)
    view = out.reshape(-1).view(np.uint8)
    filled = 0
    while filled < len(view):
        chunk = stream.read(min(CHUNK_BYTES, len(view) - filled))
        if not chunk:
            raise EfatError(
                f"{name}: {len(view) - filled} bytes are missing; the file is cut short"
            )
        view[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    if stream.read(1):  # reads the checksum of a zip member as well
        raise EfatError(f"{name}: more bytes than its shape {shape} holds")
    return out


def _read_header(stream: Any, size: int, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read a `.npy` header and check it against the bytes that follow."""
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise EfatError(f"{name}: .npy version {version} found; 1.0 or 2.0 is needed")
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise EfatError(
            f"{name}: Python objects found; plain arrays are needed, nothing is unpickled"
        )
    if fortran and len(shape) > 1:
        raise EfatError(f"{name}: Fortran order found; save np.ascontiguousarray(stack)")
    expected = int(np.prod([dtype.itemsize, *shape], dtype=object))
    if min(shape, default=0) < 0 or expected != size - stream.tell():
        raise EfatError(
            f"{name}: {size - stream.tell()} bytes found where {dtype} {shape} needs {expected}; "
            "the file is cut short or damaged"
        )
    return shape, dtype


def _read_csv(stream: BinaryIO, array: SystolicArray | None) -> Fleet:
    """Read PEs line by line; memory holds the packed maps and nothing else."""
    if array is None:
        raise EfatError("no array given; a .csv does not say how many rows and columns there are")
    lines = _csv_lines(stream)
    _, header = next(lines, (1, []))
    if isinstance(header, str):
        raise EfatError(f"line 1: {header}")
    if [name.strip() for name in header] != ["chip_id", "row", "col"]:
        raise EfatError(f"line 1: {','.join(header)!r} found; the header chip_id,row,col is needed")
    grids: dict[str, bytearray] = {}
    problems, count = [], 0
    for number, fields in lines:
        problem = fields if isinstance(fields, str) else _mark(grids, fields, array)
        if problem:
            count += 1
            if count <= PROBLEMS_SHOWN:
                problems.append(f"line {number}: {problem}")
    if count > PROBLEMS_SHOWN:
        problems.append(f"and {count - PROBLEMS_SHOWN} bad lines more")
    if problems:
        raise EfatError(problems)
    maps = {
        name: FaultMap.from_words(array.rows, array.cols, np.frombuffer(packed, np.uint64))
        for name, packed in grids.items()
    }
    return Fleet(tuple(Chip(name, fault_map) for name, fault_map in maps.items()))


def _csv_lines(stream: BinaryIO) -> Iterator[tuple[int, list[str] | str]]:
    """Return the fields of each line that is not blank, by number; what is wrong ends them."""
    reader = csv.reader(_decoded(stream), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            found = error.object[error.start]
            yield reader.line_num + 1, f"byte 0x{found:02x} found; text in UTF-8 is needed"
            return
        except csv.Error as error:
            yield number, f"{error}; no CSV from here on"
            return
        if len(fields) > 1 or "".join(fields).strip():
            yield number, fields


def _decoded(stream: BinaryIO) -> Iterator[str]:
    """Decode line by line, so that a byte that is no text has a line number."""
    encoding = "utf-8-sig"
    for raw in stream:
        for line in raw.splitlines(keepends=True):  # bytes split at CR, LF and CR LF alone
            yield line.decode(encoding)
            encoding = "utf-8"


def _mark(grids: dict[str, bytearray], fields: list[str], array: SystolicArray) -> str:
    """Set one PE's bit in its chip's packed map; say what is wrong, or nothing."""
    if len(fields) != 3:
        return f"{len(fields)} fields found; chip_id,row,col is needed"
    name, row_text, col_text = fields
    name = name.strip()
    if not name:
        return "no chip_id"
    if found := name_problems(name):
        return found[0]
    places = [text.strip() for text in (row_text, col_text)]
    if not all(place.isascii() and place.isdigit() and len(place) < 10 for place in places):
        return f"row {row_text!r}, col {col_text!r} found; two ints >= 0 are needed"
    row, col = map(int, places)
    if row >= array.rows or col >= array.cols:
        return f"PE({row}, {col}) is outside the array of {array.rows}x{array.cols} PEs"
    if name not in grids:
        grids[name] = bytearray(8 * words_needed(array.rows, array.cols))
    byte, bit = divmod(row * array.cols + col, 8)
    mask = 0x80 >> bit
    if grids[name][byte] & mask:
        return f"PE({row}, {col}) of chip {name!r} is listed twice"
    grids[name][byte] |= mask
    return ""
