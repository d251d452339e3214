"""Print the assignment of new chips to the models of a library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from efat.campaign import Arrival, Experiment, Library, Row, unsalvageable_note
from efat.io import pluralise
from efat.planning import How
from efat.reporting.terminal.stages import off_ws_note

CHIPS_SHOWN = 40
"""Rows on the terminal; the files hold all."""


def describe_arrival(experiment: Experiment, arrival: Arrival, library: Library) -> str:
    """Say how new chips are placed and what that takes; unsalvageable chips by name."""
    counts = Counter(placement.how for placement in arrival.assignment.placements)
    done = sum(entry.model.finished for entry in library.entries)
    served = ", ".join(f"{counts[how]} {how}" for how in get_args(How))
    line = (
        f"assign     {pluralise(len(experiment.fleet), 'chip')} to "
        f"{pluralise(len(library.entries), 'model')} ({done} trained): {served}; "
        f"{pluralise(len(arrival.plan.groups), 'model')} to train, "
        f"{arrival.plan.total_steps / experiment.amounts.steps_per_epoch:.1f} epochs in total"
    )
    lost = unsalvageable_note(arrival.plan.unsalvageable, ())
    note = f"; {lost}" if lost else ""
    return line + off_ws_note(experiment, counts["covered"] > 0) + note


def describe_assignment(experiment: Experiment, rows: Sequence[Row]) -> RenderableType:
    """Lay out the assigned chips, most expensive first."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    names = (
        "chip",
        "faulty",
        "action",
        "model",
        "epochs",
        "val %",
        "test %",
        "met\nval",
        "met\ntest",
    )
    for name in names:
        table.add_column(name, justify="left" if name in ("chip", "action", "model") else "right")
    ranked = sorted(rows, key=lambda row: (-(row["model_steps"] or 0), row["chip_id"]))
    for row in ranked[:CHIPS_SHOWN]:
        table.add_row(
            row["chip_id"],
            f"{row['fault_rate']:.1%}",
            row["action"],
            row["model"],
            f"{(row['model_steps'] or 0) / experiment.amounts.steps_per_epoch:.2f}",
            f"{100 * row['val_after']:.2f}",
            f"{100 * row['test_after']:.2f}",
            *("yes" if row[key] else "no" for key in ("pass_val", "pass_test")),
        )
    notes = "\nepochs: training of the chip's model in this run, shared by all chips of that model."
    if len(rows) > CHIPS_SHOWN:
        notes = f"\nand {len(rows) - CHIPS_SHOWN} more in assignment.csv" + notes
    return Group("", table, notes)


def describe_growth(home: Path, before: Library, after: Library) -> str:
    """Say what became of the library."""
    if after == before:
        return f"library    {home}: unchanged, every chip was there already"
    new = len(after.entries) - len(before.entries)
    known = {entry.checkpoint for entry in before.entries if entry.weights}
    trained = [entry.checkpoint for entry in after.entries if entry.checkpoint not in known]
    return (
        f"library    {home}: {pluralise(len(after.chips) - len(before.chips), 'new chip')}, "
        f"{pluralise(new, 'new model')}; "
        f"checkpoints added: {', '.join(trained) or 'none'}"
    )
