"""What each stage of a campaign does: inputs -> artifact (METHOD sections 3 to 7)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from efat.campaign.analysis import curve_of
from efat.campaign.experiment import Experiment
from efat.campaign.job_factory import baseline_job, group_job, retraining_job
from efat.campaign.results import (
    Baseline,
    Evaluation,
    Hardened,
    Measured,
    MeasuredGrams,
    Single,
    TrainedModel,
)
from efat.engine import Runner, Store
from efat.errors import EfatError
from efat.hardware import FaultMap, Fleet
from efat.nn import magnitude_saliency, taylor_saliency
from efat.nn.masking import weight_layouts
from efat.planning import Cost, CountCost, Group, Plan, Random, make_plan, no_cost
from efat.resilience import ResilienceMap, Severity, array_rate, saliency_rate, weight_rate
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


def pretrain(experiment: Experiment, runner: Runner) -> Baseline:
    """Train the fault-free network, or take its weights from a user's file.

    Raises:
        EfatError: Training diverged.
    """
    [(key, values)] = runner.run("pretrain", trainer.train, [baseline_job(experiment)])
    if values["diverged_steps"] is not None:
        raise EfatError(
            f"baseline: training diverged at step {values['diverged_steps']}; use a lower learning "
            "rate (baseline.optimizer.lr)"
        )
    return Baseline(("pretrain", key), values["metric"][-1], values["elapsed_s"])


def harden(experiment: Experiment, runner: Runner, baseline: Baseline) -> Baseline:
    """Return the baseline with its hardened network, if the recipe asks for one.

    Raises:
        EfatError: Its training diverged.
    """
    if experiment.hardening is None:
        return baseline
    job = replace(experiment.hardening, start=baseline.weights)
    [(key, values)] = runner.run("harden", trainer.harden, [job])
    if values["diverged_steps"] is not None:
        raise EfatError(
            f"hardening: training diverged at step {values['diverged_steps']}; use a lower "
            "learning rate (hardening.optimizer.lr)"
        )
    metric, elapsed_s = values["metric"][-1], values["elapsed_s"]
    hardened = Hardened(("harden", key), metric, job.amount_steps, elapsed_s)
    return replace(baseline, hardened=hardened)


def measure_grams(experiment: Experiment, runner: Runner, baseline: Baseline) -> Baseline:
    """Return the baseline with its Gram matrices measured, if the recipe needs them."""
    recipe = experiment.recipe
    if not recipe.needs_grams:
        return baseline
    seed = derive(experiment.seed, "calibration")
    job = GramJob(experiment.baseline_setup, baseline.start, recipe.samples, seed)
    [(key, values)] = runner.run("measure_grams", repair_step.measure_grams, [job])
    blocks = values["blocks"]
    measured = MeasuredGrams(("measure_grams", key), values["samples"], values["elapsed_s"], blocks)
    return replace(baseline, grams=measured)


def severity_measure(experiment: Experiment, store: Store, baseline: Baseline) -> Severity:
    """Return the x axis of the resilience map; one that needs the baseline loads it when asked."""
    name, setup = experiment.severity_name, experiment.retrain_setup
    if name == "array_rate":
        return array_rate

    @cache
    def measure() -> Severity:
        model = load_model(setup, store, baseline.start)
        if name == "weight_rate":
            return weight_rate(weight_layouts(model, setup.off_array), experiment.array)
        if name == "magnitude_rate":
            return saliency_rate(magnitude_saliency(model, setup.off_array), experiment.array)
        batches = training_batches(setup, derive(experiment.seed, "saliency"))
        loss = trainer.loss_of_outputs(setup)
        saliency = taylor_saliency(model, batches, loss, setup.off_array)
        return saliency_rate(saliency, experiment.array)

    return lambda fault_map: measure()(fault_map)


def plan(
    experiment: Experiment, resilience_map: ResilienceMap | None, severity: Severity
) -> dict[str, Plan]:
    """Plan the fleet with the chosen planner, first, and with those it is compared with.

    Args:
        experiment: Its fleet, planner and strategies to compare with.
        resilience_map: None if no strategy needs one (`experiment.needs_map`).
        severity: Its x axis.

    Raises:
        EfatError: A planner that needs no resilience map returned amounts.
    """
    chips, seed = experiment.fleet.chips, experiment.seed
    price = cost(experiment, resilience_map, severity)
    chosen = make_plan(experiment.planner, chips, price, seed)
    plans = {experiment.planner_name: chosen}
    for name, planner in list(experiment.strategies.items())[1:]:
        if isinstance(planner, Random) and chosen.groups:
            planner = replace(planner, sizes=[len(group.members) for group in chosen.groups])
        plans[name] = make_plan(planner, chips, price, seed) if planner else Plan((), ())
    return plans


def retrain(
    experiment: Experiment, runner: Runner, baseline: Baseline, plans: dict[str, Plan]
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
    results = runner.run("retrain", trainer.train, jobs)
    for (name, group), job, (key, values) in zip(groups, jobs, results, strict=True):
        models[name] += (_model(group, job, ("retrain", key), values),)
    return models


def evaluate(
    experiment: Experiment,
    runner: Runner,
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
    results = [values for _, values in runner.run("evaluate", trainer.evaluate, jobs)]
    hardened = _measured(results.pop())[0] if baseline.hardened else None
    (first, *rest) = map(_measured, results)
    before = dict(zip(maps, first[1:], strict=True))
    after = {name: dict(before) for name in models}
    for (name, model), measured in zip(carried, rest, strict=True):
        after[name].update(zip(model.group.members, measured, strict=True))
    return Evaluation(first[0], before, after, results[0]["test_samples"], hardened)


def single(
    experiment: Experiment, runner: Runner, baseline: Baseline, severity: Severity
) -> Single:
    """Fault-aware training of one chip for the whole budget, without a campaign around it."""
    chip, amounts = experiment.fleet.chips[0], experiment.amounts
    job = retraining_job(
        experiment, baseline, chip.fault_map, amounts.budget_steps, amounts.eval_every_steps
    )
    [(key, values)] = runner.run("single", trainer.train, [replace(job, keep_weights=True)])
    rate = chip.fault_map.fault_rate
    curve = curve_of(experiment, rate, 0, severity(chip.fault_map), values)
    group = Group((chip.chip_id,), chip.fault_map, amounts.budget_steps)
    model = _model(group, job, ("single", key), values)
    alone = replace(experiment, fleet=Fleet((chip,)))
    evaluation = evaluate(alone, runner, baseline, {"single": (model,)})
    return Single(chip, curve, model, evaluation)


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


def cost(experiment: Experiment, resilience_map: ResilienceMap | None, severity: Severity) -> Cost:
    """Return the cost of a fault map; as a table where only its number of faults matters."""
    if resilience_map is None:
        return no_cost
    if severity is array_rate:
        array = experiment.array
        return CountCost.of(resilience_map.amount, array.rows, array.cols)
    return lambda fault_map: resilience_map.amount(severity(fault_map))


def _evaluation(
    experiment: Experiment, weights: Weights, fault_maps: tuple[FaultMap | None, ...]
) -> EvaluationJob:
    return EvaluationJob(experiment.retrain_setup, weights, experiment.array, fault_maps)


def _measured(values: dict[str, Any]) -> list[Measured]:
    return [Measured(val, test) for val, test in zip(values["val"], values["test"], strict=True)]
