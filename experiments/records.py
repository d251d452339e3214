"""What the records share: their command, rows in and out, tables in Markdown.

A record is a package with rows, a page, `table.py` that makes the page's tables from the rows, and
modules that make the rows again. `python -m experiments.NAME` prints the tables,
`python -m experiments.NAME MODULE ...` runs a module: `run`, `costs`, ... A test holds the pages
to the tables.
"""

from __future__ import annotations

import csv
import fcntl
import gzip
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from efat.io import write_csv

Row = Mapping[str, str]


def main(package: str) -> None:
    """Print a record's tables, or run the module of it that the command line names."""
    if len(sys.argv) == 1:
        print(*import_module(f"{package}.table").tables(), sep="\n\n")
        return
    folder = Path(import_module(package).__file__ or "").parent
    modules = {path.stem for path in folder.glob("*.py") if "\ndef main(" in path.read_text()}
    if sys.argv[1] not in modules:
        sys.exit(f"python -m {package} [MODULE ...], one of: {', '.join(sorted(modules))}")
    sys.argv[0] = f"python -m {package} {sys.argv.pop(1)}"
    import_module(f"{package}.{sys.argv[0].split()[-1]}").main()


def load(path: Path) -> list[Row]:
    """Return the rows of a CSV file, which may be compressed (`.gz`)."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return list(csv.DictReader(io.StringIO(text)))


read = cache(load)


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows; equal rows give equal bytes, compressed (`.gz`) or not."""
    if path.suffix != ".gz":
        write_csv(path, rows)
        return
    plain = path.with_suffix(".plain")
    write_csv(plain, rows)
    path.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()


def update(path: Path, key: Mapping[str, object], rows: Sequence[Mapping[str, object]]) -> None:
    """Put rows in the place of those that have the same key; other processes wait meanwhile."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        before = load(path) if path.exists() else []
        kept = [row for row in before if any(row[name] != str(key[name]) for name in key)]
        write(path, [*kept, *({**key, **row} for row in rows)])
    finally:
        os.close(folder)


def where(rows: Iterable[Row], **wanted: str) -> list[Row]:
    """Return the rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lay out a table.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    table = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def spread(values: Iterable[float], digits: int = 1) -> str:
    """Write shares in percent: mean, and lowest to highest.

    >>> spread([0.5, 0.7]), spread([0.5])
    ('60.0 (50.0-70.0)', '50.0')
    """
    shares = [100 * value for value in values]
    mean = f"{sum(shares) / len(shares):.{digits}f}"
    if len(shares) == 1:
        return mean
    return f"{mean} ({min(shares):.{digits}f}-{max(shares):.{digits}f})"


def signed(differences: Sequence[float]) -> str:
    """Write differences of shares in points: mean, and lowest to highest.

    >>> signed([0.01, -0.02])
    '-0.5 (-2.0 to +1.0)'
    """
    points = [100 * value for value in differences]
    return f"{sum(points) / len(points):+.1f} ({min(points):+.1f} to {max(points):+.1f})"


def percent(rate: str | float) -> str:
    """Write a fault rate.

    >>> percent("0.05")
    '5 %'
    """
    return f"{100 * float(rate):.0f} %"


def share(value: str | float, digits: int = 1) -> str:
    """Write a share in percent, without the sign.

    >>> share("0.876")
    '87.6'
    """
    return f"{100 * float(value):.{digits}f}"


def by_rate(rows: Sequence[Row], column: str, digits: int = 1) -> list[str]:
    """Return a cell for each fault rate: the spread of a column over the fault maps."""
    rates = sorted({float(row["fault_rate"]) for row in rows})
    return [
        spread((float(r[column]) for r in rows if float(r["fault_rate"]) == rate), digits)
        for rate in rates
    ]


def rate_heads(rows: Sequence[Row]) -> list[str]:
    """Return the heading of every fault rate."""
    return [percent(rate) for rate in sorted({float(row["fault_rate"]) for row in rows})]


def at_amount(rows: Sequence[Row], run: str, steps: int) -> list[Row]:
    """Return the points of a run's curves at one amount."""
    return [row for row in rows if row["run"] == run and int(row["amount_steps"]) == steps]


def amounts(rows: Sequence[Row], run: str) -> list[int]:
    """Return the recorded amounts of a run above 0, in steps."""
    return sorted({int(row["amount_steps"]) for row in rows if row["run"] == run} - {0})
