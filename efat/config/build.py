"""From a composed configuration to an experiment: every problem found before any work starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from efat.campaign import Experiment
from efat.config.amounts import build_amounts, build_hardening
from efat.config.compose import compose_sweep, planner_options
from efat.config.selection_checks import build_selection
from efat.config.validate_library import check_library
from efat.config.validate_plan import plan_problems
from efat.config.validate_recipe import recipe_problems
from efat.config.validation import ErrorCollector, build, check_values
from efat.config.workload import Workload, build_workload
from efat.engine import Store
from efat.errors import EfatError, raise_problems
from efat.hardware import Fleet, SystolicArray
from efat.hardware.fleets import check_fleet_file
from efat.planning import Planner, Rules, info_of
from efat.resilience import ACCURACY
from efat.training import Gradual, Recipe, trainer


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
    return build_experiment(job.cfg, job.problems, job.left_out)


def build_experiment(
    cfg: DictConfig, found: Iterable[str] = (), left_out: Iterable[str] = ()
) -> Experiment:
    """Build and check everything that a campaign needs.

    Args:
        cfg: The composed configuration.
        found: Problems found on the way to it, to be raised with those found here.
        left_out: Keys that have another value in `cfg` than the user gave; what relates them to
            others cannot be judged.

    Raises:
        EfatError: All problems of the configuration at once, each with its key.
    """
    problems = ErrorCollector(found, left_out)
    check_values(cfg, problems)
    problems.try_build("executor", lambda: _with(cfg.executor, "run"))
    problems.try_build("tracking", lambda: _with(cfg.tracking, "finish"))
    problems.try_build("store", lambda: _check_store(cfg))
    _check_trainer(cfg, problems)
    planner = problems.try_build("planner", lambda: _planner(cfg))
    compare = problems.try_build("compare", lambda: _compared(cfg))
    rules = problems.try_build("rules", lambda: instantiate(cfg.rules))
    array = problems.try_build("array", lambda: _array(cfg))
    _check_array(cfg, array, problems)
    is_valid = array if problems.is_valid("array") else None
    fleet = problems.try_build("fleet", lambda: _fleet(cfg, is_valid))
    workload = build_workload(cfg, problems)
    data, metric = workload.data, workload.metric or ACCURACY
    recipe = problems.try_build("recipe", lambda: _recipe(cfg))
    if recipe and problems.is_valid("array", "model", "data"):
        problems.try_build("recipe", lambda: _check_recipe(cfg, recipe, workload))
    selection = problems.try_build("selection", lambda: build_selection(cfg, metric, problems))
    if data and problems.is_valid("data", "trainer.accumulate_grad_batches"):
        problems.try_build("trainer", lambda: _check_batches(cfg, data))
    raise_problems(dict.fromkeys(problems.found))
    # no problem was found, so all of them are there; this tells mypy
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
        amounts=build_amounts(cfg, data, recipe),
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
        hardening=build_hardening(cfg, workload, data, array) if recipe.hardens else None,
        search=cfg.fault_rates.search,
        max_cost=cfg.fault_rates.max_cost,
    )
    _check_work(cfg, experiment)
    return experiment


def _check_work(cfg: DictConfig, experiment: Experiment) -> None:
    """Refuse what the stage asked for cannot do with this fleet, or this budget."""
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


def _compared(cfg: DictConfig) -> dict[str, Planner | None]:
    """Build the planners to compare with; baselines plan without the rules."""
    compared: dict[str, Planner | None] = dict.fromkeys(cfg.compare)
    for name, node in planner_options(cfg).items():
        planner = _with(node, "__call__")
        keeps = info_of(planner).keeps_rules or not hasattr(planner, "rules")
        compared[name] = planner if keeps else replace(planner, rules=Rules())
    return compared


def _check_store(cfg: DictConfig) -> None:
    store = Store(Path(cfg.store))
    store.check_layout()
    if cfg.stage not in ("status", "fleet"):
        store.check_writable()


def _with(node: DictConfig, method: str) -> Any:
    """Build a part of the user's choice and see that it can do its work."""
    part = build(node)
    if not callable(getattr(part, method, None)):
        raise EfatError(
            f"{node._get_full_key('')}: {type(part).__name__} given; it has no {method}"
        )
    return part


def _planner(cfg: DictConfig) -> Any:
    """Build the planner; it plans for the recipe as it is."""
    planner = _with(cfg.planner, "__call__")
    info = info_of(planner)
    if info.without:
        raise EfatError(
            f"planner: {info.name} given; it is to compare with: its models are made "
            f"without {', '.join(info.without)}; leave that out of recipe.steps instead"
        )
    return planner


def _check_trainer(cfg: DictConfig, problems: ErrorCollector) -> None:
    """Try Lightning's arguments one by one, since it stops at the first; then all together."""
    arguments = {
        str(key): value
        for key, value in cfg.trainer.items()
        if key != "channels_last" and problems.is_valid(f"trainer.{key}")
    }
    for key, value in arguments.items():
        problems.try_build(f"trainer.{key}", partial(_try_trainer, {key: value}))
    launched = str(cfg.executor.get("_target_")).endswith(".Launch")
    problems.check(
        cfg.trainer.devices == 1 or launched,
        f"trainer.devices: {cfg.trainer.devices} given; with more than one use executor=launch",
    )
    if problems.is_valid("trainer"):
        problems.try_build("trainer", lambda: _try_trainer(arguments))


def _try_trainer(arguments: dict[str, Any]) -> None:
    try:
        trainer.build_trainer({"accelerator": "cpu", **arguments})
    except MisconfigurationException as error:
        if list(arguments) != ["accelerator"]:
            raise
        raise EfatError(
            f"trainer.accelerator: {arguments['accelerator']} given; Lightning: "
            f"{str(error).rstrip('!.')}; use trainer=cpu, or a machine with such a device and a "
            "torch that is built for it"
        ) from None


def _array(cfg: DictConfig) -> SystolicArray:
    part = cfg.array
    return SystolicArray(part.rows, part.cols, part.order, part.dataflow)


def _check_array(cfg: DictConfig, array: SystolicArray | None, problems: ErrorCollector) -> None:
    """Check what goes with the array and what does not."""
    dataflow, severity = cfg.array.dataflow, cfg.selection.severity
    if problems.is_valid("array.dataflow", "selection.severity"):
        problems.check(
            dataflow not in ("os", "is") or severity == "array_rate",
            f"selection.severity: {severity} given, but array.dataflow={dataflow} prunes no "
            "weight; use array_rate",
        )
    if array and problems.is_valid("array", "fault_rates"):
        pes = array.rows * array.cols
        lost = [rate for rate in cfg.fault_rates.rates if round(rate * pes) < 1]
        problems.check(
            not lost,
            f"fault_rates.rates: {lost} given; less than one of the array's {pes} PEs; use higher "
            "rates or a larger array",
        )


def _fleet(cfg: DictConfig, array: SystolicArray | None) -> Fleet | None:
    """Make the fleet; without an array, see what is wrong with it whatever the array is."""
    if array is None and cfg.fleet.get("_target_") == "efat.hardware.fleets.file_fleet":
        check_fleet_file(cfg.fleet.path)
        return None
    fleet: Fleet = instantiate(cfg.fleet, array or SystolicArray(16, 16), cfg.seed)
    return fleet


def _check_batches(cfg: DictConfig, data: pl.LightningDataModule) -> None:
    batches, accumulate = len(data.train_dataloader()), cfg.trainer.accumulate_grad_batches
    if batches % accumulate:
        raise EfatError(
            f"trainer.accumulate_grad_batches: {accumulate} given; a divisor of the {batches} "
            "batches of an epoch is needed, since Lightning cuts the last step of an epoch short"
        )


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
