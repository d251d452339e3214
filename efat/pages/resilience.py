"""The resilience map of a finished run, and the crossings that it was read from."""

from __future__ import annotations

import math

from efat.pages.finished import FinishedRun, Row
from efat.resilience import ResilienceMap


def resilience_map_of(document: Row) -> ResilienceMap:
    """Return the map that `resilience_map.json` holds."""
    return ResilienceMap(
        document["target"],
        tuple(document["severities"]),
        tuple(math.inf if a is None else a for a in document["amounts_steps"]),
        document["interpolation"],
    )


def epochs_of(steps: float | None, epoch: float) -> float | None:
    """Return epochs; None, a gap in the drawing, beyond the map."""
    return None if steps is None or math.isinf(steps) else steps / epoch


def crossings(run: FinishedRun) -> list[tuple[float, float]]:
    """Return severity and epochs where each curve first meets the constraint, if it does."""
    target, sustained = run.resilience_map["target"], run.resilience_map.get("sustained", 1)
    curves: dict[tuple[float, float], list[Row]] = {}
    for row in run.curves:
        curves.setdefault((row["fault_rate"], row["repeat"]), []).append(row)
    found = []
    for rows in curves.values():
        values = [row["val_metric"] for row in rows]
        met = [value is not None and run.metric.meets(value, target) for value in values]
        starts = range(len(met) - sustained + 1)
        first = next((i for i in starts if all(met[i : i + sustained])), None)
        if first is not None:
            found.append((rows[first]["severity"], rows[first]["amount_epochs"]))
    return found
