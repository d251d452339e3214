"""Tell a tracker about a campaign and its units, in the tracker's terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from efat.campaign import Experiment
from efat.engine import Result, Unit, content_key
from efat.reporting.provenance import redact
from efat.reporting.tracking.base import RunInfo, Tracker, Training
from efat.training import TrainingJob, trained_steps

ELSEWHERE = ("store", "executor", "tracking", "checkpoint_every", "stage", "library", "runs")
"""Keys that change where and how far a campaign runs, not what it is."""


def describe_run(experiment: Experiment, config: Any, folder: Path) -> RunInfo:
    """Describe a campaign; the same configuration makes the same group, wherever it runs."""
    what = {key: value for key, value in config.items() if key not in ELSEWHERE}
    amounts, array = experiment.amounts, experiment.array
    derived = {
        "steps_per_epoch": amounts.steps_per_epoch,
        "samples_per_step": amounts.samples_per_step,
        "budget_steps": amounts.budget_steps,
        "pretrain_steps": amounts.pretrain_steps,
        "chips": len(experiment.fleet),
        "split_sha256": experiment.retrain_setup.split_hash,
    }
    return RunInfo(
        folder=folder,
        name=experiment.name,
        group=f"{experiment.name}-{content_key('campaign', what)[:8]}",
        config=redact({**config, "derived": derived}),
        tags=(experiment.planner_name, f"{array.rows}x{array.cols}", f"seed-{experiment.seed}"),
        steps_per_epoch=amounts.steps_per_epoch,
        samples_per_step=amounts.samples_per_step,
    )


def track(tracker: Tracker, unit: Unit, result: Result) -> None:
    """Tell a tracker of a unit that was computed; evaluations are no trainings."""
    job, values = unit.job, result.values
    if not isinstance(job, TrainingJob):
        return
    config = {
        "seed": job.seed,
        "amount_steps": job.amount_steps,
        "fault_rate": job.fault_map.fault_rate if job.fault_map else 0.0,
        "fault_map_sha256": job.fault_map.key if job.fault_map else None,
        "diverged_steps": values["diverged_steps"],
    }
    tracker.train(
        Training(
            unit.stage,
            unit.key,
            config,
            tuple(values["amount_steps"]),
            tuple(values["metric"]),
            trained_steps(job, values),
            values["elapsed_s"],
        )
    )
