"""The resilience map of a finished run, and the crossings that it was read from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from efat.reporting.figures.map_line import map_line
from efat.reporting.html.run_reader import FinishedRun, Row
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


def drawn_map(document: Row) -> tuple[list[float], list[float | None]]:
    """Return severities and epochs of the line to draw."""
    return map_line(resilience_map_of(document), document["steps_per_epoch"])


@dataclass(frozen=True)
class Crossing:
    """Where a curve of the analysis first meets the constraint; `epochs` None: nowhere."""

    severity: float
    epochs: float | None


def crossings(run: FinishedRun) -> list[Crossing]:
    """Return where each curve of the analysis first meets the constraint."""
    target, sustained = run.resilience_map["target"], run.resilience_map.get("sustained", 1)
    found = []
    for rows in curves_of(run):
        values = [row["val_metric"] for row in rows]
        met = [value is not None and run.metric.meets(value, target) for value in values]
        starts = range(len(met) - sustained + 1)
        first = next((i for i in starts if all(met[i : i + sustained])), None)
        epochs = None if first is None else rows[first]["amount_epochs"]
        found.append(Crossing(rows[0]["severity"], epochs))
    return found


def chips_beyond(run: FinishedRun) -> int:
    """Count the chips beyond the map: unsalvageable, unless they were trained without it."""
    if not run.until_met:
        return len(run.summary["unsalvageable"])
    amount = resilience_map_of(run.resilience_map).amount
    return sum(math.isinf(amount(row["severity"])) for row in run.chips)


def curves_of(run: FinishedRun) -> list[list[Row]]:
    """Return the points of each curve of the analysis."""
    curves: dict[tuple[float, float], list[Row]] = {}
    for row in run.curves:
        curves.setdefault((row["fault_rate"], row["repeat"]), []).append(row)
    return list(curves.values())


def early_ends(run: FinishedRun) -> list[Row]:
    """Return the last points of curves that ended before the budget, since they met it there.

    Where the recipe does not retrain, the budget is 0 and all curves are points.
    """
    ends = [rows[-1] for rows in curves_of(run)]
    budget = run.budget_epochs - 1e-9
    return [row for row in ends if row["amount_epochs"] < budget or row["amount_epochs"] == 0]
