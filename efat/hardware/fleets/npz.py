"""Fleet files in NumPy's formats, read as streams: efat's own `.npz` and stacks of maps in `.npy`.

Every header is checked against the bytes that follow before memory is allocated for them.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from efat.errors import EfatError
from efat.hardware.chip import Chip, Fleet, check_shape, name_chips
from efat.hardware.fault_map import FaultMap, words_needed
from efat.hardware.mapping import SystolicArray

MEMBERS = ("shape", "chip_ids", "words", "sha256")
LONGEST_NAME = 1000
"""Most characters of a chip's name in a `.npz`, where every name takes the room of the longest."""
CHUNK_BYTES = 1 << 20


def read_npz(stream: BinaryIO, array: SystolicArray | None) -> Fleet:
    """Read a fleet and compare it with its hash."""
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
    """Return [rows, cols] after a check of all headers, before any large array is read."""
    headers = {name: _member_header(archive, name) for name in MEMBERS}
    (shape, kind), (id_shape, id_kind), (word_shape, word_kind), (hash_shape, hash_kind) = (
        headers[name] for name in MEMBERS
    )
    if kind.kind != "i" or shape != (2,) or (sides := _read_member(archive, "shape")).min() < 1:
        raise EfatError(f"shape: {kind} of shape {shape} found; [rows, cols] is needed")
    rows, cols = sides.tolist()
    if array is not None:
        check_shape((rows, cols), array, "the file")
    expected = (id_shape[0] if len(id_shape) == 1 else 0, words_needed(rows, cols))
    if id_kind.kind != "U" or word_kind != np.dtype("<u8") or word_shape != expected:
        raise EfatError(
            f"chip_ids of {id_kind} {id_shape} and words of {word_kind} {word_shape} found; "
            f"text [chips] and uint64 [chips, {expected[1]}] are needed for {rows}x{cols} PEs"
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
    """Read one array of the archive, a chunk at a time."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        shape, dtype = _read_header(member, info.file_size, name)
        out = np.empty(shape, dtype)
        view = out.reshape(-1).view(np.uint8)
        filled = 0
        while filled < len(view):
            chunk = member.read(min(CHUNK_BYTES, len(view) - filled))
            if not chunk:
                raise EfatError(
                    f"{name}: {len(view) - filled} bytes are missing; the file is cut short"
                )
            view[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
            filled += len(chunk)
        if member.read(1):  # reads the checksum of a zip member as well
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


def read_npy(stream: BinaryIO, _: SystolicArray | None) -> Fleet:
    """Read a stack of fault maps, one by one."""
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


def write_npz(fleet: Fleet, stream: BinaryIO) -> None:
    """Write a fleet, chip by chip."""
    rows, cols = fleet.chips[0].fault_map.shape
    ids = np.array([chip.chip_id for chip in fleet])
    count = words_needed(rows, cols)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
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


def _write_member(archive: zipfile.ZipFile, name: str, values: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, allow_pickle=False)
    archive.writestr(_member(name), buffer.getvalue())


def _member(name: str) -> zipfile.ZipInfo:
    """Return a member without its time, so that equal fleets give equal files."""
    info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
