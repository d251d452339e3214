"""The stages of a campaign, each inputs -> artifact, in the order in which data flows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from efat.campaign.curves import curve_of, record_curves
from efat.campaign.experiment import Experiment
from efat.campaign.job_factory import baseline_job, group_job, retraining_job
from efat.campaign.results import (
    Analysis,
    Baseline,
    Evaluation,
    Hardened,
    Measured,
    MeasuredGrams,
    TrainedModel,
)
from efat.engine import Runner, Store
from efat.errors import EfatError, raise_problems
from efat.hardware import Chip, FaultMap, Fleet
from efat.nn import magnitude_saliency, taylor_saliency
from efat.nn.masking import weight_layouts
from efat.planning import Cost, CountCost, Group, Plan, Random, needs_map, no_cost
from efat.resilience import ResilienceCurve, ResilienceMap, array_rate, saliency_rate, weight_rate
from efat.seeds import derive
from efat.training import (
    EvaluationJob,
    GramJob,
    TrainingJob,
    Weights,
    load_model,
    repair_step,
    trained_steps,
    trainer,
    training_batches,
)


def pretrain(experiment: Experiment, campaign: Runner) -> Baseline:
    """Train the fault-free network, or take its weights from a user's file.

    Raises:
        EfatError: Training diverged.
    """
    [(key, values)] = campaign.run("pretrain", trainer.train, [baseline_job(experiment)])
    if values["diverged_steps"] is not None:
        raise EfatError(
            f"baseline: training diverged at step {values['diverged_steps']}; use a lower learning "
            "rate (baseline.optimizer.lr)"
        )
    return Baseline(("pretrain", key), values["metric"][-1], values["elapsed_s"])


def harden(experiment: Experiment, campaign: Runner, baseline: Baseline) -> Baseline:
    """Return the baseline with its hardened network, if the recipe asks for one.

    Raises:
        EfatError: Its training diverged.
    """
    if experiment.hardening is None:
        return baseline
    job = replace(experiment.hardening, start=baseline.weights)
    [(key, values)] = campaign.run("harden", trainer.harden, [job])
    if values["diverged_steps"] is not None:
        raise EfatError(
            f"hardening: training diverged at step {values['diverged_steps']}; use a lower "
            "learning rate (hardening.optimizer.lr)"
        )
    metric, elapsed_s = values["metric"][-1], values["elapsed_s"]
    hardened = Hardened(("harden", key), metric, job.amount_steps, elapsed_s)
    return replace(baseline, hardened=hardened)


def measure_grams(experiment: Experiment, campaign: Runner, baseline: Baseline) -> Baseline:
    """Return the baseline with its Gram matrices measured, if the recipe needs them."""
    recipe = experiment.recipe
    if not recipe.needs_grams:
        return baseline
    seed = derive(experiment.seed, "calibration")
    job = GramJob(experiment.baseline_setup, baseline.start, recipe.samples, seed)
    [(key, values)] = campaign.run("measure_grams", repair_step.measure_grams, [job])
    blocks = values.get("blocks", {})  # results from before there were any do not say so
    measured = MeasuredGrams(("measure_grams", key), values["samples"], values["elapsed_s"], blocks)
    return replace(baseline, grams=measured)


def check_reachable(experiment: Experiment, baseline: Baseline) -> float:
    """Return the target accuracy on validation.

    Raises:
        EfatError: It is better than the baseline's, so that no chip can be expected to reach it.
    """
    target = experiment.selection.constraint.target(baseline.val_metric)
    if not experiment.metric.meets(baseline.val_metric, target):
        raise EfatError(
            f"selection.limit: {target} asked for, but the fault-free baseline reaches only "
            f"{baseline.val_metric:.4f} on validation; ask for less or train a better baseline"
        )
    return target


def bind_severity(experiment: Experiment, store: Store, baseline: Baseline) -> Experiment:
    """Return the experiment with its severity measure built on the baseline."""
    name, setup = experiment.severity_name, experiment.retrain_setup
    if name == "array_rate":
        return experiment
    model = load_model(setup, store, baseline.start)
    if name == "weight_rate":
        measure = weight_rate(weight_layouts(model, setup.off_array), experiment.array)
    elif name == "magnitude_rate":
        measure = saliency_rate(magnitude_saliency(model, setup.off_array), experiment.array)
    else:
        batches = training_batches(setup, derive(experiment.seed, "saliency"))
        saliency = taylor_saliency(model, batches, trainer.loss_of_outputs(setup), setup.off_array)
        measure = saliency_rate(saliency, experiment.array)
    return replace(experiment, severity=measure)


def analyse(experiment: Experiment, campaign: Runner, baseline: Baseline) -> Analysis:
    """Record resilience curves, round by round where rates are searched (METHOD section 4)."""
    target = experiment.selection.constraint.target(baseline.val_metric)
    found = Analysis((), 0.0)
    while wanted := experiment.curves_after(found.curves, target):
        found = found.joined(record_curves(experiment, campaign, baseline, wanted))
    return found


def select(experiment: Experiment, analysis: Analysis, target: float) -> ResilienceMap:
    """Read the resilience map off the curves (METHOD section 5)."""
    return experiment.read(analysis.curves, target)


def plan(experiment: Experiment, resilience_map: ResilienceMap | None) -> dict[str, Plan]:
    """Plan the fleet with the chosen planner, first, and with those it is compared with.

    Args:
        experiment: What is planned.
        resilience_map: None: no strategy needs one (`experiment.needs_map`).

    Raises:
        EfatError: A planner that needs no map plans amounts, which nothing but a map knows.
    """
    chips, seed = experiment.fleet.chips, experiment.seed
    price = cost(experiment, resilience_map)
    chosen = experiment.planner(chips, price, seed)
    plans = {experiment.planner_name: chosen}
    for name, planner in experiment.compare.items():
        if name == "random" and chosen.groups:
            planner = Random([len(group.members) for group in chosen.groups])
        if name not in plans:
            plans[name] = planner(chips, price, seed) if planner else Plan((), ())
    planners = {**experiment.compare, experiment.planner_name: experiment.planner}
    raise_problems(
        f"planner: {name} says needs_map = False, but its plan has amounts; only a plan with "
        "until_met=True does without the map: return such a plan, or leave needs_map out"
        for name, planner in planners.items()
        if plans[name].groups and not plans[name].until_met and not needs_map(planner)
    )
    return plans


def retrain(
    experiment: Experiment, campaign: Runner, baseline: Baseline, plans: dict[str, Plan]
) -> dict[str, tuple[TrainedModel, ...]]:
    """Retrain every group once, for its amount; equal groups of several plans share a training.

    A compared plan may hold a group beyond the resilience map (amount inf): it is retrained for
    the whole budget, and counted as such. See `group_job` for recipes that top up.
    """
    tops_up = experiment.recipe.tops_up
    groups = [(name, group) for name, plan in plans.items() for group in plan.groups]
    jobs = [
        group_job(experiment.without(plan.without), baseline, group, tops_up or plan.until_met)
        for plan in plans.values()
        for group in plan.groups
    ]
    models: dict[str, tuple[TrainedModel, ...]] = dict.fromkeys(plans, ())
    results = campaign.run("retrain", trainer.train, jobs)
    for (name, group), job, (key, values) in zip(groups, jobs, results, strict=True):
        models[name] += (_model(group, job, ("retrain", key), values),)
    return models


def evaluate(
    experiment: Experiment,
    campaign: Runner,
    baseline: Baseline,
    models: dict[str, tuple[TrainedModel, ...]],
) -> Evaluation:
    """Measure every chip with its own fault map; the only place that reads the test split."""
    maps = {chip.chip_id: chip.fault_map for chip in experiment.fleet}
    carried = [
        (name, model) for name, trained in models.items() for model in trained if not model.diverged
    ]
    jobs = [_evaluation(experiment, baseline.weights, (None, *maps.values()))]
    jobs += [
        _evaluation(experiment, model.weights, tuple(maps[chip] for chip in model.group.members))
        for _, model in carried
    ]
    if baseline.hardened:
        jobs.append(_evaluation(experiment, baseline.hardened.weights, (None,)))
    found = [values for _, values in campaign.run("evaluate", trainer.evaluate, jobs)]
    hardened = _measured(found.pop())[0] if baseline.hardened else None
    (first, *rest) = map(_measured, found)
    before = dict(zip(maps, first[1:], strict=True))
    after = {name: dict(before) for name in models}
    for (name, model), measured in zip(carried, rest, strict=True):
        after[name].update(zip(model.group.members, measured, strict=True))
    return Evaluation(first[0], before, after, found[0]["test_samples"], hardened)


def single(
    experiment: Experiment, campaign: Runner, baseline: Baseline
) -> tuple[Chip, ResilienceCurve, TrainedModel, Evaluation]:
    """Fault-aware training of one chip for the whole budget, without a campaign around it."""
    chip, amounts = experiment.fleet.chips[0], experiment.amounts
    job = retraining_job(
        experiment, baseline, chip.fault_map, amounts.budget_steps, amounts.eval_every_steps
    )
    [(key, values)] = campaign.run("single", trainer.train, [replace(job, keep_weights=True)])
    curve = curve_of(experiment, chip.fault_map.fault_rate, 0, chip.fault_map, values)
    group = Group((chip.chip_id,), chip.fault_map, amounts.budget_steps)
    model = _model(group, job, ("single", key), values)
    alone = replace(experiment, fleet=Fleet((chip,)))
    return chip, curve, model, evaluate(alone, campaign, baseline, {"single": (model,)})


def _model(
    group: Group, job: TrainingJob, weights: Weights, values: dict[str, Any]
) -> TrainedModel:
    """Describe a retrained network; one that diverged cost the steps up to there."""
    repair_s, until, steps = values.get("repair_s", 0.0), job.until, trained_steps(job, values)
    kept_steps = values.get("kept_steps")
    model = TrainedModel(
        group,
        steps,
        weights,
        values["elapsed_s"] - repair_s,
        values["diverged_steps"] is not None and kept_steps is None,
        repair_s,
    )
    if until is None:
        return model
    metric, longer = values["metric"], steps > group.amount_steps
    return replace(
        model,
        evaluations=len(metric),
        met=until.met(metric),
        topped_up=longer and not until.met(metric[: until.sustained]),
        kept_steps=kept_steps,
    )


def cost(experiment: Experiment, resilience_map: ResilienceMap | None) -> Cost:
    """Return what a fault map costs; as a table where its number of faults decides alone."""
    if resilience_map is None:
        return no_cost
    if experiment.severity is array_rate:
        array = experiment.array
        return CountCost.of(resilience_map.amount, array.rows, array.cols)
    return lambda fault_map: resilience_map.amount(experiment.severity(fault_map))


def _evaluation(
    experiment: Experiment, weights: Weights, fault_maps: tuple[FaultMap | None, ...]
) -> EvaluationJob:
    return EvaluationJob(experiment.retrain_setup, weights, experiment.array, fault_maps)


def _measured(values: dict[str, Any]) -> list[Measured]:
    return [Measured(val, test) for val, test in zip(values["val"], values["test"], strict=True)]
