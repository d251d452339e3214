"""Build the jobs of a campaign; the content of a job is the key of its result."""

from __future__ import annotations

from dataclasses import replace

from efat.campaign.experiment import Experiment
from efat.campaign.results import Baseline
from efat.hardware import FaultMap
from efat.planning import Group
from efat.seeds import derive
from efat.training import Injection, RepairSpec, StopCriterion, TrainingJob


def baseline_job(experiment: Experiment) -> TrainingJob:
    """Return the job that trains the fault-free network, or loads its weights."""
    steps = experiment.amounts.pretrain_steps if experiment.checkpoint is None else 0
    return TrainingJob(
        experiment.baseline_setup,
        derive(experiment.seed, "baseline"),
        steps,
        eval_every_steps=max(1, steps),
        checkpoint=experiment.checkpoint,
    )


def retraining_job(
    experiment: Experiment,
    baseline: Baseline,
    fault_map: FaultMap,
    amount_steps: int,
    eval_every_steps: int = 0,
) -> TrainingJob:
    """Return the job that repairs and trains under `fault_map`; curves keep no weights.

    The seed depends only on the fault map: retraining for an amount repeats the curve up to it.
    """
    return TrainingJob(
        setup=experiment.retrain_setup,
        seed=derive(experiment.seed, "retrain", fault_map.key),
        amount_steps=amount_steps,
        eval_every_steps=eval_every_steps,
        start=baseline.start,
        array=experiment.array,
        fault_map=fault_map,
        keep_weights=not eval_every_steps,
        repair=repair_of(experiment, baseline, fault_map),
        injection=_injection(experiment, fault_map),
    )


def _injection(experiment: Experiment, fault_map: FaultMap) -> Injection | None:
    """Return the schedule of progressive faults; it must not depend on the budget."""
    gradual = experiment.recipe.gradual
    if gradual is None:
        return None
    every = max(1, round(gradual.inject_every_epochs * experiment.amounts.steps_per_epoch))
    return Injection(gradual.inject_parts, every, derive(experiment.seed, "inject", fault_map.key))


def group_job(
    experiment: Experiment, baseline: Baseline, group: Group, until_pass: bool
) -> TrainingJob:
    """Return the job that trains a group's model for its retraining amount.

    A group beyond the resilience map (amount inf) is trained for the whole budget. With
    `until_pass` the metric is measured at the amount and after each further evaluation interval,
    until the constraint is met or the next interval would not fit in the budget.
    """
    budget, every = experiment.amounts.budget_steps, experiment.amounts.eval_every_steps
    planned = int(min(group.amount_steps, budget))
    job = retraining_job(experiment, baseline, group.fused, planned)
    if not until_pass:
        return job
    room = budget - (experiment.selection.sustained - 1) * every  # for evaluations in a row
    first = min(planned, room)
    last = first + (budget - first) // every * every
    until = replace(until_met(experiment, baseline), from_steps=first)
    return replace(job, amount_steps=last, eval_every_steps=every, until=until)


def until_met(experiment: Experiment, baseline: Baseline) -> StopCriterion:
    """Return the criterion that ends a training once the constraint is met on validation."""
    target = experiment.selection.constraint.target(baseline.val_metric)
    better = experiment.metric.higher_is_better
    return StopCriterion(target, better, experiment.selection.sustained)


def repair_of(experiment: Experiment, baseline: Baseline, fault_map: FaultMap) -> RepairSpec | None:
    """Return the repair of a masked network before retraining; None: the recipe has none."""
    recipe, measured = experiment.recipe.settled(fault_map.fault_rate), baseline.grams
    if not recipe.repairs:
        return None
    return RepairSpec(
        recipe.repairs,
        recipe.mode,
        measured.weights if measured and recipe.needs_grams else None,
        recipe.samples if recipe.needs_samples else 0,
        derive(experiment.seed, "calibration") if recipe.needs_samples else 0,
        recipe.remap,
    )
