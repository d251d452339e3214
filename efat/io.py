"""Write files that are either complete or absent, also after a crash."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

Row = dict[str, Any]


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; at the end, fsync it and rename it into place.

    Raises:
        OSError: The disk is full or the folder is not writable; `path` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)  # mkstemp gives 0600; other users may read results
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` as `write_atomically` does."""
    with write_atomically(path) as stream:
        stream.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused, since JSON has neither."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows under all names that occur in them; None or a missing value is an empty cell."""
    stream = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, stream.getvalue().encode())


def pluralise(number: int, name: str) -> str:
    """Format a number with its noun.

    >>> pluralise(1, "unit"), pluralise(1200, "unit")
    ('1 unit', '1,200 units')
    """
    return f"{number:,} {name}{'' if number == 1 else 's'}"
