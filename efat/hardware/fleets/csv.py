"""Read lists of faulty PEs from a tester, `chip_id,row,col`, line by line."""

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
"""Number of bad lines that are named; the others are counted."""


def read_csv(stream: BinaryIO, array: SystolicArray | None) -> Fleet:
    """Read a fleet line by line; memory holds the packed fault maps only."""
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
    """Yield number and fields of each line that is not blank; a text names an error and ends it."""
    reader = csv.reader(_decoded(stream), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            yield reader.line_num + 1, f"byte 0x{byte:02x} found; text in UTF-8 is needed"
            return
        except csv.Error as error:
            yield number, f"{error}; no CSV from here on"
            return
        if len(fields) > 1 or "".join(fields).strip():
            yield number, fields


def _decoded(stream: BinaryIO) -> Iterator[str]:
    """Decode line by line, so that an invalid byte has a line number."""
    encoding = "utf-8-sig"
    for raw in stream:
        for line in raw.splitlines(keepends=True):  # bytes split at CR, LF and CR LF alone
            yield line.decode(encoding)
            encoding = "utf-8"


def _mark(grids: dict[str, bytearray], fields: list[str], array: SystolicArray) -> str:
    """Set one PE's bit in its chip's packed map; return the problem, or an empty text."""
    if len(fields) != 3:
        return f"{len(fields)} fields found; chip_id,row,col is needed"
    name, row_text, col_text = fields
    name = name.strip()
    if not name:
        return "no chip_id"
    if problems := name_problems(name):
        return problems[0]
    numbers = [text.strip() for text in (row_text, col_text)]
    if not all(text.isascii() and text.isdigit() and len(text) < 10 for text in numbers):
        return f"row {row_text!r}, col {col_text!r} found; two ints >= 0 are needed"
    row, col = map(int, numbers)
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
