"""The table of `stage=status`."""

from __future__ import annotations

from rich.table import Table

from efat.campaign.status import StageCount


def status_table(counts: list[StageCount], steps_per_epoch: float, workers: int) -> Table:
    """Lay the counts out, one row per stage; seconds are extrapolated from finished units."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("stage")
    for name in ("done", "running", "missing", "epochs left", "seconds left"):
        table.add_column(name, justify="right")
    for count in counts:
        left_s, epochs = count.left_s(counts, workers), f"{count.left_steps / steps_per_epoch:.1f}"
        seconds = f"about {left_s:.0f}" if left_s else ""
        if count.missing is None:
            table.add_row(count.stage, "", "", "not known yet", f"about {epochs}", seconds)
            continue
        more = " or more" if count.open_ended else ""
        damaged = f" ({count.damaged} damaged)" if count.damaged else ""
        missing = f"{count.missing}{more}{damaged}"
        table.add_row(count.stage, str(count.done), str(count.running), missing, epochs, seconds)
    return table
