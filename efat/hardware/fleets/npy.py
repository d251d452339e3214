"""Arrays in `.npy` streams, and stacks of maps: every promise of a header is checked first.

Used for files as they are and for the members of a `.npz`.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from efat.errors import EfatError
from efat.hardware.chip import Fleet, name_chips
from efat.hardware.fault_map import FaultMap
from efat.hardware.mapping import SystolicArray

CHUNK_BYTES = 1 << 20


def read_npy(stream: BinaryIO, _: SystolicArray | None) -> Fleet:
    """Read a stack of maps, one by one."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    shape, dtype = read_header(stream, size, "stack")
    if dtype != np.bool_ or len(shape) != 3 or 0 in shape:
        raise EfatError(f"{dtype} of shape {shape} found; bool [chips, rows, cols] is needed")
    chips, rows, cols = shape
    return name_chips((FaultMap(_read_bools(stream, rows, cols)) for _ in range(chips)), chips)


def _read_bools(stream: BinaryIO, rows: int, cols: int) -> NDArray[np.bool_]:
    raw = np.frombuffer(stream.read(rows * cols), np.uint8).reshape(rows, cols)
    if raw.max() > 1:
        raise EfatError(f"byte {raw.max()} found; a boolean is 0 or 1")
    return raw.astype(np.bool_)


def read_array(stream: Any, size: int, name: str) -> NDArray[Any]:
    """Read a whole `.npy` of `size` bytes, a chunk at a time."""
    shape, dtype = read_header(stream, size, name)
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


def read_header(stream: Any, size: int, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
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
