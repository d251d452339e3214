"""The files of a finished run: how its tables and documents are written and read."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from efat.campaign.experiment import Amounts
from efat.campaign.outcome import Outcome
from efat.campaign.run_parts import PlanResult, Settings, finite_or_none
from efat.campaign.tables import GroupResult, Row
from efat.io import write_csv, write_json
from efat.resilience import Metric, ResilienceCurve

VERSION = 2
"""Of `summary.json`; a run of another version is refused."""

TEXTS = ("layer", "stage", "key", "config", "host", "reason", "log", "state")
"""Columns of tables of numbers that hold texts."""

Typed = TypeVar("Typed")


def write_outcome(
    folder: Path, outcome: Outcome, metric: Metric, amounts: Amounts, settings: Settings
) -> None:
    """Write `chips.csv` and `summary.json`."""
    write_csv(folder / "chips.csv", [asdict(row) for row in outcome.chips])
    summary = {
        "version": VERSION,
        **asdict(replace(outcome, chips=())),
        "metric": asdict(metric),
        "amounts": asdict(amounts),
        "settings": asdict(settings),
    }
    del summary["chips"]
    write_json(folder / "summary.json", summary)


def write_plan(folder: Path, plan: PlanResult) -> None:
    """Write `plan.json`."""
    write_json(folder / "plan.json", asdict(plan))


def write_groups(folder: Path, groups: Iterable[GroupResult]) -> None:
    """Write `groups.csv`."""
    write_csv(folder / "groups.csv", [asdict(row) for row in groups])


def write_curves(folder: Path, curves: Iterable[ResilienceCurve], amounts: Amounts) -> None:
    """Write `curves.csv`: one row per point of a curve."""
    rows = [
        {
            "fault_rate": curve.fault_rate,
            "repeat": curve.repeat,
            "severity": curve.severity,
            "amount_steps": step,
            "amount_epochs": step / amounts.steps_per_epoch,
            "val_metric": finite_or_none(value),
        }
        for curve in curves
        for step, value in zip(curve.amount_steps, curve.metric, strict=True)
    ]
    write_csv(folder / "curves.csv", rows)


def build_typed(kind: type[Typed], value: Any) -> Typed:
    """Build a dataclass from JSON, by the types of its fields."""
    return TypeAdapter(kind).validate_python(value)


def cell_values(kind: type[Any], row: dict[str, str]) -> dict[str, str | None]:
    """Return a row of a CSV for `kind`: an empty cell is None, unless the field is a text."""
    texts = {each.name for each in fields(kind) if each.type == "str"}
    return {name: cell if cell or name in texts else None for name, cell in row.items()}


def read_curves(folder: Path, metric: Metric) -> Iterable[ResilienceCurve]:
    """Read the curves of `curves.csv`."""
    rows = read_numbers(folder / "curves.csv")
    for (rate, repeat), points in groupby(rows, lambda row: (row["fault_rate"], row["repeat"])):
        curve = list(points)
        yield ResilienceCurve(
            rate,
            int(repeat),
            curve[0]["severity"],
            tuple(int(row["amount_steps"]) for row in curve),
            tuple(math.nan if row["val_metric"] is None else row["val_metric"] for row in curve),
            metric.higher_is_better,
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read a document that holds one object."""
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a table; a missing file has no rows."""
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def read_numbers(path: Path) -> tuple[Row, ...]:
    """Read a table of numbers; an empty cell is None, and columns of `TEXTS` stay texts."""
    return tuple(
        {name: text if name in TEXTS else _number(text) for name, text in row.items()}
        for row in read_rows(path)
    )


def _number(text: str) -> float | str | None:
    if text == "":
        return None
    try:
        return float(text)
    except ValueError:
        return text
