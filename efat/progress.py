"""What a user sees while a campaign runs: one bar with an ETA, or plain lines into a file."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar


class Progress:
    """One bar for the whole campaign, in training steps; stages not yet known are estimated.

    Args:
        console: Where to draw; where it is not a terminal, each stage prints one line instead.
        estimate_steps: Expected work by stage; replaced when the stage begins.
    """

    def __init__(self, console: Console, estimate_steps: dict[str, int]) -> None:
        self.console, self.steps = console, dict(estimate_steps)
        self.bar = Bar(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("start", total=sum(self.steps.values()))

    def begin(self, stage: str, steps: int, units: int) -> None:
        """Name the stage and replace its estimate by what it really takes."""
        self.steps[stage] = steps
        self.bar.update(self.task, description=stage, total=sum(self.steps.values()))
        if not self.console.is_terminal:
            self.console.print(f"{stage}: {units} units to compute")

    def advance(self, steps: int) -> None:
        """Count finished work."""
        self.bar.advance(self.task, steps)

    def say(self, what: RenderableType) -> None:
        """Print a result above the bar."""
        self.console.print(what, highlight=False)

    def __enter__(self) -> Progress:
        """Show the bar."""
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away, also after an error."""
        self.bar.stop()
