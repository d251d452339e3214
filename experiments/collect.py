"""Gather the curves of several runs into the raw rows of a record.

python -m experiments.collect OUT.csv LABEL=RUN_FOLDER ...
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from efat.io import write_csv


def collect(target: Path, runs: dict[str, Path]) -> None:
    """Write one row a point of a curve, with the run's label before it."""
    rows = [
        {"run": label, **row}
        for label, folder in runs.items()
        for row in csv.DictReader((folder / "curves.csv").open())
    ]
    write_csv(target, rows)


if __name__ == "__main__":
    labelled = (argument.split("=", 1) for argument in sys.argv[2:])
    collect(Path(sys.argv[1]), {label: Path(folder) for label, folder in labelled})
