"""What a campaign trains, described as jobs: their content is the key of what comes out."""

from __future__ import annotations

from dataclasses import replace

from efat.campaign.experiment import Experiment
from efat.campaign.results import Baseline
from efat.hardware import FaultMap
from efat.planning import Group
from efat.seeds import derive
from efat.training import Injection, RepairSpec, StopCriterion, TrainingJob


def baseline_job(experiment: Experiment) -> TrainingJob:
    """Describe the training of the fault-free network, or the loading of its weights."""
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
    """Describe repair and training under `fault_map`; curves (with evaluations) keep no weights.

    The seed hangs on the map alone: retraining for an amount repeats the curve up to there.
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
    """Describe how the faults come into a training; of the budget nothing depends on."""
    gradual = experiment.recipe.gradual
    if gradual is None:
        return None
    every = max(1, round(gradual.every_epochs * experiment.amounts.steps_per_epoch))
    return Injection(gradual.parts, every, derive(experiment.seed, "inject", fault_map.key))


def group_job(experiment: Experiment, baseline: Baseline, group: Group, on: bool) -> TrainingJob:
    """Describe the training of a group's model: for its amount, and `on` from there if it is short.

    A group beyond the resilience map (amount inf) is trained for the whole budget. Going on, the
    metric is measured at the amount and after each evaluation interval, until the constraint is
    met or the next interval would not fit in the budget.
    """
    budget, every = experiment.amounts.budget_steps, experiment.amounts.eval_every_steps
    planned = int(min(group.amount_steps, budget))
    job = retraining_job(experiment, baseline, group.fused, planned)
    if not on:
        return job
    room = budget - (experiment.selection.sustained - 1) * every  # for all that have to meet it
    first = min(planned, room)
    last = first + (budget - first) // every * every
    until = replace(until_met(experiment, baseline), from_steps=first)
    return replace(job, amount_steps=last, eval_every_steps=every, until=until)


def until_met(experiment: Experiment, baseline: Baseline) -> StopCriterion:
    """Describe the constraint on validation."""
    target = experiment.selection.constraint.target(baseline.val_metric)
    better = experiment.metric.higher_is_better
    return StopCriterion(target, better, experiment.selection.sustained)


def repair_of(experiment: Experiment, baseline: Baseline, fault_map: FaultMap) -> RepairSpec | None:
    """Describe what mends a masked network before it is retrained."""
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
