"""What the tables of the records are made with: rows in, Markdown lines out.

Each record has a `table.py` of its own; a test holds the READMEs to what they return.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from efat.reporting.html.report_markdown import markdown_table

HERE = Path(__file__).parent
Row = Mapping[str, str]
Lines = list[str]


def read(record: str, name: str) -> list[Row]:
    """Return the rows of a record's file."""
    with (HERE / record / name).open() as file:
        return list(csv.DictReader(file))


def spread(values: Iterable[float], digits: int = 1) -> str:
    """Write shares in percent: mean, and lowest to highest.

    >>> spread([0.5, 0.7]), spread([0.5])
    ('60.0 (50.0-70.0)', '50.0')
    """
    shares = [100 * value for value in values]
    mean = f"{sum(shares) / len(shares):.{digits}f}"
    return (
        mean if len(shares) == 1 else f"{mean} ({min(shares):.{digits}f}-{max(shares):.{digits}f})"
    )


def percent(rate: float) -> str:
    """Write a fault rate."""
    return f"{100 * rate:.0f} %"


def by_rate(rows: Sequence[Row], column: str, digits: int = 1) -> list[str]:
    """Return a cell for each fault rate: the spread of a column over the maps."""
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


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Lines:
    """Return a Markdown table, as lines."""
    return markdown_table(head, lines).splitlines()


def percent_1(share: str | float) -> str:
    """Write a share in percent, one digit behind the point."""
    return f"{100 * float(share):.1f}"


def signed(differences: Sequence[float]) -> str:
    """Write differences of shares in points: mean, and lowest to highest.

    >>> signed([0.01, -0.02])
    '-0.5 (-2.0 to +1.0)'
    """
    points = [100 * value for value in differences]
    return f"{sum(points) / len(points):+.1f} ({min(points):+.1f} to {max(points):+.1f})"


def print_tables(tables: Iterable[Lines]) -> None:
    """Print tables as they are in a page."""
    for lines in tables:
        print("\n".join(lines), end="\n\n")
