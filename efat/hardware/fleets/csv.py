"""Lists of faulty PEs from a tester, `chip_id,row,col`, read line by line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from efat.errors import EfatError
from efat.hardware.chip import Chip, Fleet, name_problems
from efat.hardware.fault_map import FaultMap, words_needed
from efat.hardware.mapping import SystolicArray

PROBLEMS_SHOWN = 20
"""A file with thousands of bad lines gets this many named, and the number of the rest."""


def read_csv(stream: BinaryIO, array: SystolicArray | None) -> Fleet:
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
