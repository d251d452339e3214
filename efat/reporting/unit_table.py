"""One tidy row for every unit of work that a campaign asked for (`units.csv`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from efat.engine import Job, Record, Store, plain
from efat.training import TrainingJob, trained_steps

Row = dict[str, Any]


def unit_rows(records: Iterable[Record], store: Store) -> list[Row]:
    """Return one row per unit, in the order in which they were asked for.

    `config` is JSON: what differs between the units of the stage. `result` is the last validation
    metric of a training, the mean over the fault maps of an evaluation.
    """
    by_stage: dict[str, list[Record]] = {}
    for record in records:
        by_stage.setdefault(record.unit.stage, []).append(record)
    return [
        _row(record, differing, store)
        for stage in by_stage.values()
        for record, differing in zip(stage, _differences(stage), strict=True)
    ]


def _row(record: Record, differing: Row, store: Store) -> Row:
    unit, result = record.unit, record.result
    values, origin = (result.values, result.origin) if result else ({}, {})
    measured = values.get("metric") or values.get("val") or []
    if measured:
        training = isinstance(unit.job, TrainingJob)
        measured = [measured[-1]] if training else [sum(measured) / len(measured)]
    return {
        "stage": unit.stage,
        "key": unit.key,
        "state": record.state,
        "config": json.dumps(differing, sort_keys=True),
        "steps": _steps(unit.job, values),
        "seconds": values.get("elapsed_s"),
        "host": origin.get("host"),
        "retries": origin.get("retries"),
        "result": measured[0] if measured else None,
        "reason": record.reason,
        "log": str(store.log(unit.stage, unit.key)),
    }


def _steps(job: Job, values: Row) -> int:
    """Return what was trained; of a unit without a result, what was asked for."""
    if not isinstance(job, TrainingJob):
        return 0
    return trained_steps(job, values) if values else job.amount_steps


def _differences(records: list[Record]) -> list[Row]:
    """Return, for each unit, the fields that are not the same in all of them."""
    jobs = [_flat(plain(record.unit.job)) for record in records]
    texts: dict[str, set[str]] = {}
    for job in jobs:
        for name, value in job.items():
            texts.setdefault(name, set()).add(json.dumps(value, sort_keys=True))
    common = {n for n, seen in texts.items() if len(seen) == 1 and all(n in job for job in jobs)}
    return [{n: value for n, value in job.items() if n not in common} for job in jobs]


def _flat(value: Any, name: str = "") -> Row:
    """Name every leaf by its path; a list is one leaf."""
    if not isinstance(value, dict):
        return {name: value}
    parts = (_flat(item, f"{name}.{key}" if name else key) for key, item in value.items())
    return {path: leaf for part in parts for path, leaf in part.items()}
