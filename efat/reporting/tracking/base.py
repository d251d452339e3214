"""What a tracker is told: the campaign at its begin, each training, the results at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from efat.campaign.run_result import RunResult


@dataclass(frozen=True)
class RunInfo:
    """The campaign that is tracked.

    Args:
        folder: Of the run; trackers write below it.
        name: Of the campaign.
        group: Stable name of this campaign: the same configuration has the same.
        config: Composed, and what was derived from it; without secrets and home folders.
        tags: Words to filter by.
        steps_per_epoch: Optimizer steps of an epoch.
        samples_per_step: Training samples of a step.
    """

    folder: Path
    name: str
    group: str
    config: Mapping[str, Any]
    tags: tuple[str, ...]
    steps_per_epoch: int
    samples_per_step: int


@dataclass(frozen=True)
class Training:
    """A finished training.

    Args:
        stage: What it was for.
        key: Of its content; the same training has the same.
        config: What sets it apart: seed, amount, fault rate.
        steps: Amounts at which the metric was measured.
        metric: What was measured there, on validation.
        trained_steps: The whole amount.
        elapsed_s: Seconds it took.
    """

    stage: str
    key: str
    config: Mapping[str, Any]
    steps: tuple[int, ...]
    metric: tuple[float, ...]
    trained_steps: int
    elapsed_s: float


class Tracker(Protocol):
    """Called in this order, from one thread; what it raises costs the dashboard, not the work."""

    def begin(self, info: RunInfo) -> None:
        """Take note of the campaign."""

    def train(self, training: Training) -> None:
        """Log a training that was computed in this campaign."""

    def finish(self, run: RunResult | None) -> None:
        """Log the results; None where the campaign stopped before the evaluation."""


class NoTracker:
    """Track nothing; the files of the run hold everything."""

    def begin(self, info: RunInfo) -> None:
        """Do nothing."""

    def train(self, training: Training) -> None:
        """Do nothing."""

    def finish(self, run: RunResult | None) -> None:
        """Do nothing."""


def curve_points(info: RunInfo, training: Training) -> list[dict[str, float]]:
    """Return the curve of a training, a point each, on its three axes."""
    return [
        {
            "steps": step,
            "epochs": step / info.steps_per_epoch,
            "samples": step * info.samples_per_step,
            "val_metric": value,
        }
        for step, value in zip(training.steps, training.metric, strict=True)
    ]
