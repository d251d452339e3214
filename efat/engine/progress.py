"""Progress of a campaign: one live view with the remaining time, or plain lines into a file."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from efat.io import pluralise

PLAIN_EVERY_S = 30.0
"""Seconds between two lines about the same stage where the output is no terminal."""


class Progress:
    """One bar for the whole campaign, in training steps, over one line about the stage.

    A unit counts one step more than it trains, so that the bar and the time left also move where
    chips are repaired or measured without training.

    Args:
        console: A terminal shows the bar; for others, lines are printed instead.
        estimate_steps: Expected work by stage; replaced when the stage begins.
        steps_per_epoch: Optimizer steps of an epoch.
    """

    def __init__(
        self, console: Console, estimate_steps: dict[str, int], steps_per_epoch: float = 1
    ) -> None:
        self.console, self.steps = console, dict(estimate_steps)
        self.begun_steps: dict[str, int] = {}
        self.steps_per_epoch = steps_per_epoch
        self.stage, self.units, self.done, self.running, self.failed = "start", 0, 0, 0, 0
        self.spent_steps = self.waiting = self.finished = self.known_units = 0
        self.stage_steps = self.stage_spent = 0
        self.begin_s = self.stage_s = self.printed_s = time.monotonic()
        self.bar = _TwoLines(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[clock]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.bar.view = self
        self.task = self.bar.add_task("start", total=sum(self.steps.values()), clock="")

    def begin(self, stage: str, steps: int, units: int) -> None:
        """Name the stage and replace its estimate by its actual steps, with its rounds so far."""
        self.begun_steps[stage] = self.begun_steps.get(stage, 0) + steps
        self.steps[stage] = self.begun_steps[stage]
        self.stage, self.units, self.done, self.running, self.waiting = stage, units, 0, 0, 0
        self.stage_steps, self.stage_spent = steps, 0
        self.known_units = self.finished + units
        self.stage_s = self.printed_s = time.monotonic()
        total = sum(self.steps.values()) + self.known_units
        self.bar.update(self.task, description=stage, total=total)
        if not self.console.is_terminal:
            self.console.print(f"{stage}: {pluralise(units, 'unit')} to compute")

    def advance(self, steps: int) -> None:
        """Count a finished unit of so many steps."""
        self.done, self.spent_steps, self.waiting = self.done + 1, self.spent_steps + steps, 0
        self.finished, self.stage_spent = self.finished + 1, self.stage_spent + steps
        self.bar.advance(self.task, steps + 1)
        now = time.monotonic()
        if not self.console.is_terminal and now - self.printed_s >= PLAIN_EVERY_S:
            self.printed_s = now
            self.console.print(
                f"{self.describe()}; {self.clock()}", highlight=False, soft_wrap=True
            )

    def fail(self) -> None:
        """Count a failed unit."""
        self.failed += 1

    def wait_for(self, units: int) -> None:
        """Report, once, that another campaign on this store computes the remaining units."""
        if not self.waiting and not self.console.is_terminal:
            self.console.print(
                f"{self.stage}: waiting for {pluralise(units, 'unit')} of another run"
            )
        self.waiting = units

    def say(self, message: RenderableType) -> None:
        """Print a result above the bar."""
        self.console.print(message, highlight=False)

    def describe(self) -> str:
        """Return the line about the stage: units, rate, and the work done and remaining.

        Work includes evaluations, in training epochs, so it is more than the epochs trained.
        """
        parts = [f"{self.stage}: {self.done} of {pluralise(self.units, 'unit')}"]
        parts += [f"{self.running} running"] if self.running else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.waiting} in another run"] if self.waiting else []
        elapsed_s = time.monotonic() - self.stage_s
        parts += [f"{self.done / elapsed_s:.1f}/s"] if self.done and elapsed_s else []
        spent, rest = (
            steps / self.steps_per_epoch for steps in (self.spent_steps, self.remaining_steps())
        )
        return f"{', '.join(parts)}; work in epochs: {spent:.1f} done, about {rest:.1f} left"

    def remaining_steps(self) -> int:
        """Count the remaining steps; an estimate for stages that have not begun."""
        return max(0, sum(self.steps.values()) - self.spent_steps)

    def clock(self) -> str:
        """Return elapsed and remaining time: this stage at its own rate, then the others."""
        now = time.monotonic()
        stage_s = self._stage_remaining_s(now - self.stage_s)
        later = max(0, self.remaining_steps() - (self.stage_steps - self.stage_spent))
        spent_s = now - self.begin_s
        later_s = spent_s * later / self.spent_steps if self.spent_steps else None
        known = stage_s is not None and (later_s is not None or not later)
        rest = _minutes((stage_s or 0) + (later_s or 0)) if known else "-:--"
        return f"elapsed {_minutes(spent_s)} left {rest}"

    def _stage_remaining_s(self, elapsed_s: float) -> float | None:
        """Return the seconds that this stage still takes; None before its first unit is done."""
        whole, done = self.stage_steps + self.units, self.stage_spent + self.done
        if whole <= done:
            return 0.0
        return elapsed_s * (whole - done) / done if done else None

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
        """Remove the bar, also after an error."""
        self.bar.stop()


class _TwoLines(Bar):
    """Rich's bar, and under it the line about the stage."""

    view: Progress | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """Draw both in their current state."""
        if self.view and self.tasks:
            self.tasks[0].fields["clock"] = self.view.clock()
        yield self.make_tasks_table(self.tasks)
        if self.view and self.view.units:
            yield Text(self.view.describe(), style="dim", overflow="ellipsis", no_wrap=True)


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
