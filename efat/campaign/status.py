"""Count what a campaign has done and what remains, from its store alone, also while it runs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from efat.campaign.experiment import Experiment
from efat.campaign.walk import estimate_steps, run_stages
from efat.engine import DamagedError, Job, Result, Store, content_key

BEFORE_ANALYSIS = ("pretrain", "harden", "measure_grams")
"""Stages of one unit each; the keys of what follows need their key, not their values."""

PLACEHOLDER = {
    "metric": [math.nan],
    "elapsed_s": 0.0,
    "diverged_steps": None,
    "samples": 0,
}
"""Values in place of a missing result of those."""


@dataclass
class StageCount:
    """Units of one stage.

    Args:
        stage: Its name.
        done: Units with a result.
        running: Units that some campaign computes now.
        missing: Units that nobody computes; None before an earlier stage says how many there are.
        damaged: Those of the missing whose result was changed or truncated.
        left_steps: Work of the units without a result, in training steps.
        done_steps: Work of those with one.
        elapsed_s: Seconds that the latter took.
        open_ended: Whether the missing units decide what other units there will be: a search.
    """

    stage: str
    done: int = 0
    running: int = 0
    missing: int | None = 0
    damaged: int = 0
    left_steps: int = 0
    done_steps: int = 0
    elapsed_s: float = 0.0
    open_ended: bool = False

    def left_s(self, counts: Sequence[StageCount], workers: int) -> float | None:
        """Extrapolate the seconds left from the stage's own units, else from those of `counts`.

        Returns:
            None if nothing is done.
        """
        measured = [self] if self.done_steps else counts
        steps = sum(count.done_steps for count in measured)
        elapsed_s = sum(count.elapsed_s for count in measured)
        return elapsed_s / steps * self.left_steps / workers if steps else None


class IncompleteError(Exception):
    """The walk cannot go on: a stage misses results that decide what comes next."""


@dataclass
class DryRunner:
    """A runner that looks units up and computes none."""

    store: Store
    counts: dict[str, StageCount] = field(default_factory=dict)
    incomplete: bool = False

    def run(
        self, stage: str, function: Callable[..., Result], jobs: Sequence[Job]
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return key and values of every job.

        Raises:
            IncompleteError: A result is missing that later stages depend on.
        """
        if self.incomplete and stage not in (*BEFORE_ANALYSIS, "analyse"):
            raise IncompleteError
        units = {content_key(stage, job): job for job in jobs}
        count = self.counts.setdefault(stage, StageCount(stage))
        results = {key: self._look_up(count, key, job) for key, job in units.items()}
        self.incomplete |= None in results.values()
        if self.incomplete and stage not in BEFORE_ANALYSIS:
            raise IncompleteError
        keys = [content_key(stage, job) for job in jobs]
        return [(key, r.values if (r := results[key]) else PLACEHOLDER) for key in keys]

    def _look_up(self, count: StageCount, key: str, job: Job) -> Result | None:
        result = None
        try:
            result = self.store.read(count.stage, key)
        except DamagedError:
            count.damaged += 1
        if result is not None:
            count.done += 1
            count.done_steps += job.cost_steps
            count.elapsed_s += result.values.get("elapsed_s", 0.0)
        else:
            running = self.store.is_running(count.stage, key)
            count.running += running
            count.missing = (count.missing or 0) + (not running)
            count.left_steps += max(1, job.cost_steps)
        return result


def count_units(experiment: Experiment, store: Store) -> list[StageCount]:
    """Count done, running and missing units, stage by stage, in a dry walk of the stages."""
    runner = DryRunner(store)
    with contextlib.suppress(IncompleteError):
        run_stages(experiment, runner)
    if experiment.search == "bisect" and (count := runner.counts.get("analyse")):
        count.open_ended = count.left_steps > 0
    return [
        runner.counts.get(stage) or StageCount(stage, missing=None, left_steps=steps)
        for stage, steps in estimate_steps(experiment, "evaluate").items()
        if steps
    ]
