"""What a campaign has done and has left, read from its store alone, also while it runs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.table import Table

from efat.campaign import stages
from efat.campaign.experiment import Experiment
from efat.campaign.results import Baseline, Hardened, MeasuredGrams
from efat.engine import DamagedError, Job, Result, Store, content_key


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
        elapsed_s: What the latter took.
        open_ended: Whether what is missing decides what else there will be: a round of a search.
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


class IncompleteError(Exception):
    """A stage is not done; holds the keys of all its units."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__()
        self.keys = keys


@dataclass
class DryRunner:
    """Stands in for a `UnitRunner`: looks units up and computes none."""

    store: Store
    counts: dict[str, StageCount] = field(default_factory=dict)

    def run(
        self, stage: str, function: Callable[..., Result], jobs: Sequence[Job]
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return key and values of every job.

        Raises:
            IncompleteError: Not all of them are done.
        """
        keys = [content_key(stage, job) for job in jobs]
        count = self.counts.setdefault(stage, StageCount(stage))
        units = dict(zip(keys, jobs, strict=True))
        found = {key: self._look_up(count, key, job) for key, job in units.items()}
        if count.left_steps:
            raise IncompleteError(keys)
        return [(key, result.values if (result := found[key]) else {}) for key in keys]

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


def count_units(
    experiment: Experiment, store: Store, estimate_steps: dict[str, int]
) -> list[StageCount]:
    """Count done, running and missing units, stage by stage.

    Args:
        experiment: The campaign.
        store: Where its results are.
        estimate_steps: Guessed work by stage, for stages whose units are not known yet.
    """
    survey = DryRunner(store)
    with contextlib.suppress(IncompleteError):
        _walk(experiment, survey)
    if experiment.search == "bisect" and (count := survey.counts.get("analyse")):
        count.open_ended = count.left_steps > 0
    return [
        survey.counts.get(stage) or StageCount(stage, missing=None, left_steps=steps)
        for stage, steps in estimate_steps.items()
        if steps
    ]


def _walk(experiment: Experiment, survey: DryRunner) -> None:
    """Go the road of a campaign as far as the results go; keys need no results."""
    baseline, complete = _base(experiment, survey)
    if not complete:
        if experiment.needs_map:
            stages.analyse(experiment, survey, baseline)
        raise IncompleteError([])
    experiment = stages.bind_severity(experiment, survey.store, baseline)
    resilience_map = None
    if experiment.needs_map:
        analysis = stages.analyse(experiment, survey, baseline)
        target = experiment.selection.constraint.target(baseline.val_metric)
        resilience_map = stages.select(experiment, analysis, target)
    plans = stages.plan(experiment, resilience_map)
    models = stages.retrain(experiment, survey, baseline, plans)
    stages.evaluate(experiment, survey, baseline, models)


def _base(experiment: Experiment, survey: DryRunner) -> tuple[Baseline, bool]:
    """Return the baseline and what is made of it, as keys at least, and whether it is there."""
    complete = True
    try:
        baseline = stages.pretrain(experiment, survey)
    except IncompleteError as left:
        baseline, complete = Baseline(("pretrain", left.keys[0]), math.nan, 0), False
    try:
        baseline = stages.harden(experiment, survey, baseline)
    except IncompleteError as left:
        hardened = Hardened(("harden", left.keys[0]), math.nan, 0, 0)
        baseline, complete = replace(baseline, hardened=hardened), False
    try:
        return stages.measure_grams(experiment, survey, baseline), complete
    except IncompleteError as left:
        grams = MeasuredGrams(("measure_grams", left.keys[0]), 0, 0)
        return replace(baseline, grams=grams), False


def status_table(counts: list[StageCount], steps_per_epoch: float, workers: int) -> Table:
    """Lay the counts out; seconds are extrapolated from what done units took."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("stage")
    for name in ("done", "running", "missing", "epochs left", "seconds left"):
        table.add_column(name, justify="right")
    for count in counts:
        left_s = _left_s(count, counts, workers)
        unknown = count.missing is None
        table.add_row(
            count.stage,
            "" if unknown else str(count.done),
            "" if unknown else str(count.running),
            "not known yet"
            if unknown
            else f"{count.missing}{' or more' if count.open_ended else ''}"
            f"{f' ({count.damaged} damaged)' if count.damaged else ''}",
            f"{'about ' if unknown else ''}{count.left_steps / steps_per_epoch:.1f}",
            f"about {left_s:.0f}" if left_s else "",
        )
    return table


def _left_s(count: StageCount, counts: list[StageCount], workers: int) -> float | None:
    """Extrapolate from the stage's own units, else from all; None if nothing is done."""
    measured = [count] if count.done_steps else counts
    steps = sum(c.done_steps for c in measured)
    return (
        sum(c.elapsed_s for c in measured) / steps * count.left_steps / workers if steps else None
    )
