"""Build an experiment from a composed configuration; every problem is raised before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig

from efat.campaign import Amounts, Experiment, Selection
from efat.config.compose import compose_sweep, planner_options
from efat.config.validate_library import check_library
from efat.config.validate_plan import plan_problems
from efat.config.validate_recipe import recipe_problems
from efat.config.validate_training import check_batches, check_training
from efat.config.validation import ErrorCollector, build_part, check_array, check_values
from efat.config.workload import Workload, build_workload
from efat.engine import Store
from efat.errors import EfatError, raise_problems
from efat.hardware import Fleet, SystolicArray
from efat.hardware.fleets import check_fleet_file
from efat.planning import Planner, Rules, info_of
from efat.resilience import ACCURACY, Constraint, Metric
from efat.seeds import derive
from efat.training import Gradual, Recipe, TrainingJob


def compose_experiment(name: str | None = None, *overrides: str) -> Experiment:
    """Compose an experiment from `conf/`, and build it.

    >>> experiment = compose_experiment("resnet_fat", "fleet.chips=3", "seed=1")
    >>> experiment.name, experiment.planner_name, len(experiment.fleet)
    ('resnet_fat', 'min_cost', 3)

    Args:
        name: A file of `conf/experiment/`, as after `+experiment=`; None: the defaults alone.
        overrides: Further settings, `"key=value"` or `"group=option"`, as on the command line.

    Raises:
        EfatError: All problems of the configuration at once, each with its key.
    """
    raise_problems(
        f"overrides: {text!r} given; options are for the command line, key=value is needed"
        for text in overrides
        if text.startswith("-")
    )
    chosen = [] if name is None else [f"+experiment={name}"]
    (job,) = compose_sweep([*chosen, *overrides])
    return build_experiment(job.cfg, job.problems, job.invalid_keys)


def build_experiment(
    cfg: DictConfig, problems: Iterable[str] = (), invalid_keys: Iterable[str] = ()
) -> Experiment:
    """Build and check everything that a campaign needs, one section after the other.

    Args:
        cfg: The composed configuration.
        problems: Problems of its composition, to be raised with those of its values.
        invalid_keys: Keys that have another value in `cfg` than the user gave; rules between them
            and others cannot be judged.

    Raises:
        EfatError: All problems of the configuration at once, each with its key.
    """
    errors = ErrorCollector(problems, invalid_keys)
    check_values(cfg, errors)
    check_training(cfg, errors)
    errors.try_build("executor", lambda: _part(cfg.executor, "run"))
    errors.try_build("tracking", lambda: _part(cfg.tracking, "finish"))
    errors.try_build("store", lambda: _check_store(cfg))
    rules = errors.try_build("rules", lambda: build_part(cfg.rules))
    planner = errors.try_build("planner", lambda: _planner(cfg))
    compare = errors.try_build("compare", lambda: _compared(cfg))
    array = errors.try_build("array", lambda: _array(cfg))
    check_array(cfg, array, errors)
    fleet_array = array if errors.is_valid("array") else None
    fleet = errors.try_build("fleet", lambda: _fleet(cfg, fleet_array))
    workload = build_workload(cfg, errors)
    data, metric = workload.data, workload.metric or ACCURACY
    recipe = errors.try_build("recipe", lambda: _recipe(cfg))
    if recipe and errors.is_valid("array", "model", "data"):
        errors.try_build("recipe", lambda: _check_recipe(cfg, recipe, workload))
    selection = None
    if errors.is_valid("selection.max_drop", "selection.limit"):
        selection = errors.try_build("selection", lambda: _selection(cfg, metric))
    if data and errors.is_valid("data", "trainer.accumulate_grad_batches"):
        errors.try_build("trainer", lambda: check_batches(cfg, data))
    raise_problems(dict.fromkeys(errors.problems))
    # without problems all of them are built; this tells mypy
    assert array and planner and rules and selection and fleet and data and recipe  # noqa: S101, PT018
    assert compare is not None  # noqa: S101
    experiment = Experiment(
        name=cfg.name,
        seed=cfg.seed,
        array=array,
        fleet=fleet,
        severity_name=cfg.selection.severity,
        baseline_setup=workload.setup(cfg, cfg.baseline),
        retrain_setup=workload.setup(cfg, cfg.training),
        amounts=_amounts(cfg, data, recipe),
        fault_rates=tuple(cfg.fault_rates.rates),
        maps_per_rate=cfg.fault_rates.maps_per_rate,
        selection=selection,
        rules=rules,
        planner=planner,
        compare=compare,
        metric=metric,
        checkpoint=workload.checkpoint,
        skipped=getattr(data, "skipped", ()),
        recipe=recipe,
        until_met=cfg.fault_rates.until_met,
        hardening=_hardening(cfg, workload, data, array) if recipe.hardens else None,
        search=cfg.fault_rates.search,
        max_cost=cfg.fault_rates.max_cost,
    )
    _check_stage(cfg, experiment)
    return experiment


def _part(node: DictConfig, method: str) -> Any:
    """Build a part of the user's choice, which must have the method that efat calls."""
    part = build_part(node)
    if not callable(getattr(part, method, None)):
        raise EfatError(
            f"{node._get_full_key('')}: {type(part).__name__} given; it has no {method}"
        )
    return part


def _check_store(cfg: DictConfig) -> None:
    store = Store(Path(cfg.store))
    store.check_layout()
    if cfg.stage not in ("status", "fleet"):
        store.check_writable()


def _planner(cfg: DictConfig) -> Planner:
    """Build the planner; it plans for the recipe as it is."""
    planner: Planner = _part(cfg.planner, "__call__")
    info = info_of(planner)
    if info.without:
        raise EfatError(
            f"planner: {info.name} given; it is to compare with: its models are made "
            f"without {', '.join(info.without)}; leave that out of recipe.steps instead"
        )
    return planner


def _compared(cfg: DictConfig) -> dict[str, Planner | None]:
    """Build the planners to compare with; baselines plan without the rules."""
    compared: dict[str, Planner | None] = dict.fromkeys(cfg.compare)
    for name, node in planner_options(cfg).items():
        planner = _part(node, "__call__")
        keeps = info_of(planner).keeps_rules or not hasattr(planner, "rules")
        compared[name] = planner if keeps else replace(planner, rules=Rules())
    return compared


def _array(cfg: DictConfig) -> SystolicArray:
    part = cfg.array
    return SystolicArray(part.rows, part.cols, part.order, part.dataflow)


def _fleet(cfg: DictConfig, array: SystolicArray | None) -> Fleet | None:
    """Make the fleet; without a valid array, check what does not depend on it."""
    if array is None and cfg.fleet.get("_target_") == "efat.hardware.fleets.file_fleet":
        check_fleet_file(cfg.fleet.path)
        return None
    fleet: Fleet = build_part(cfg.fleet, array or SystolicArray(16, 16), cfg.seed)
    return fleet


def _recipe(cfg: DictConfig) -> Recipe:
    part = cfg.recipe
    gradual = Gradual.of(part.inject, part.inject_parts, part.inject_every_epochs)
    return Recipe(tuple(part.steps), part.mode, part.samples, gradual, part.remap)


def _check_recipe(cfg: DictConfig, recipe: Recipe, workload: Workload) -> None:
    """Refuse steps that this network or array does not allow."""
    if (recipe.repairs or recipe.hardens) and workload.network and workload.data:
        inputs, _ = next(iter(workload.data.train_dataloader()))
        dataflow, off_array = cfg.array.dataflow, tuple(cfg.array.off_array)
        raise_problems(recipe_problems(recipe, workload.network, inputs, dataflow, off_array))


def _selection(cfg: DictConfig, metric: Metric) -> Selection:
    part = cfg.selection
    return Selection(
        Constraint(part.max_drop, part.limit, metric),
        part.stat,
        part.quantile,
        part.interpolation,
        part.confidence,
        part.sustained,
        part.monotone,
    )


def _amounts(cfg: DictConfig, data: pl.LightningDataModule, recipe: Recipe) -> Amounts:
    """Turn epochs into whole optimizer steps; the budget is a whole number of evaluations."""
    steps_per_epoch = _steps_per_epoch(cfg, data)
    every = max(1, round(cfg.training.eval_every_epochs * steps_per_epoch))
    intervals = max(1, round(cfg.training.budget_epochs * steps_per_epoch / every))
    batch = len(next(iter(data.train_dataloader()))[0])
    return Amounts(
        pretrain_steps=max(1, round(cfg.baseline.epochs * steps_per_epoch)),
        budget_steps=intervals * every if recipe.retrains else 0,
        eval_every_steps=every,
        steps_per_epoch=steps_per_epoch,
        samples_per_step=batch * _batches_per_step(cfg),
    )


def _steps_per_epoch(cfg: DictConfig, data: pl.LightningDataModule) -> int:
    return max(1, len(data.train_dataloader()) // _batches_per_step(cfg))


def _batches_per_step(cfg: DictConfig) -> int:
    return int(cfg.trainer.accumulate_grad_batches * cfg.trainer.devices)


def _hardening(
    cfg: DictConfig, workload: Workload, data: pl.LightningDataModule, array: SystolicArray
) -> TrainingJob:
    """Describe how the baseline is hardened; the campaign adds the baseline's weights."""
    low, high = cfg.hardening.fault_rate
    return TrainingJob(
        workload.setup(cfg, cfg.hardening),
        derive(cfg.seed, "harden"),
        max(1, round(cfg.hardening.epochs * _steps_per_epoch(cfg, data))),
        array=array,
        hardening=(low, high),
    )


def _check_stage(cfg: DictConfig, experiment: Experiment) -> None:
    """Refuse what the stage cannot do with this fleet, budget or library."""
    amounts, sustained = experiment.amounts, experiment.selection.sustained
    evaluations = amounts.budget_steps // amounts.eval_every_steps + 1
    if sustained > evaluations:
        raise EfatError(
            f"selection.sustained: {sustained} given; a curve has {evaluations} evaluations "
            "(training.budget_epochs, training.eval_every_epochs); at most so many are allowed"
        )
    if cfg.stage == "assign":
        check_library(cfg, experiment)
    elif cfg.library is not None:
        raise EfatError(f"library: {cfg.library} given; only stage=assign uses one; leave it out")
    if cfg.stage in ("plan", "retrain", "evaluate"):
        raise_problems(dict.fromkeys(_plan_problems(experiment)))


def _plan_problems(experiment: Experiment) -> Iterator[str]:
    """Yield why the chosen planner, or a compared one, cannot plan this fleet."""
    counted = experiment.severity_name == "array_rate"
    for planner in filter(None, experiment.strategies.values()):
        chosen = planner is experiment.planner
        rules = experiment.rules if chosen else getattr(planner, "rules", Rules())
        excludes = counted and info_of(planner).needs_map  # chips, by their number of faults
        highest_rate = max(experiment.fault_rates) if excludes else 1.0
        key = "planner" if chosen else "compare"
        yield from plan_problems(experiment.fleet, planner, rules, highest_rate, counted, key)
