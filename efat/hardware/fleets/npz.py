"""Efat's own fleet file: a `.npz`, written and read as a stream, with a hash of its content."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from efat.errors import EfatError
from efat.hardware.chip import Chip, Fleet, check_shape
from efat.hardware.fault_map import FaultMap, words_needed
from efat.hardware.fleets.npy import read_array, read_header
from efat.hardware.mapping import SystolicArray

MEMBERS = ("shape", "chip_ids", "words", "sha256")
LONGEST_NAME = 1000
"""Characters of a chip's name, at most, in a `.npz`, where all take the room of the longest."""


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
        return read_header(member, info.file_size, name)


def _read_member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array into memory that is allocated only once its size is known to be true."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        return read_array(member, info.file_size, name)


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
    """Describe a member without the time, so that the same fleet is the same file."""
    info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
