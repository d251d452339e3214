"""From a composed configuration to an experiment: every problem found before any work starts."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, get_args

import pytorch_lightning as pl
import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from efat import fit
from efat.config import STAGES
from efat.errors import EfatError, raise_problems
from efat.experiment import Amounts, Experiment, Selection
from efat.fit import Setup, TrainingJob
from efat.mapping import SystolicArray
from efat.masking import mapped_layers
from efat.planning.base import Planner
from efat.planning.fixed import Fixed
from efat.planning.individual import Individual
from efat.planning.random import Random
from efat.planning.single import Single
from efat.resilience import Constraint, Interpolation, Stat
from efat.severity import array_rate

Value = TypeVar("Value")

SEVERITIES = ("array_rate", "weight_rate", "magnitude_rate", "taylor_rate")
COMPARE: dict[str, Planner | None] = {
    "none": None,
    "fixed": Fixed(),
    "individual": Individual(),
    "single": Single(),
    "random": Random([1]),  # stages.plan gives it the sizes of the chosen plan
}
BUDGET_DEPENDENT = ("CosineAnnealingLR", "OneCycleLR", "PolynomialLR")


class Problems:
    """Collects what is wrong, so that a user sees all of it at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def attempt(self, key: str, build: Callable[[], Value]) -> Value | None:
        """Return what `build` makes, or None after noting why it failed under `key`."""
        try:
            return build()
        except Exception as error:  # a user's class may raise anything from its constructor
            cause = error.__cause__ if isinstance(error, HydraException) else error
            self.found += (
                cause.problems if isinstance(cause, EfatError) else [f"{key}: {_reason(error)}"]
            )
        return None

    def require(self, holds: bool, problem: str) -> None:
        """Note `problem` unless `holds`."""
        if not holds:
            self.found.append(problem)


def build_experiment(cfg: DictConfig) -> Experiment:
    """Build and check everything that a campaign needs.

    Raises:
        EfatError: All problems of the configuration at once, each with its key.
    """
    problems = Problems()
    _check_values(cfg, problems)
    for key, build in (
        ("baseline", lambda: _try_optimizer(cfg.baseline)),
        ("training", lambda: _try_optimizer(cfg.training)),
        ("executor", lambda: _with(cfg.executor, "run")),
        ("tracking", lambda: _with(cfg.tracking, "log")),
    ):
        problems.attempt(key, build)
    array = problems.attempt("array", lambda: _array(cfg))
    planner = problems.attempt("planner", lambda: _with(cfg.planner, "__call__"))
    selection = problems.attempt("selection", lambda: _selection(cfg))
    fleet = array and problems.attempt("fleet", lambda: instantiate(cfg.fleet, array, cfg.seed))
    network = problems.attempt("model", lambda: _network(cfg))
    data = problems.attempt("data", lambda: _load_data(cfg))
    classes = network and data and problems.attempt("model", lambda: _classes(network, data))
    raise_problems(problems.found)
    # no problem was found, so all of them are there; this tells mypy
    assert array and planner and selection and fleet and network and data and classes  # noqa: S101, PT018
    retrain_setup = _setup(cfg, cfg.training, classes)
    problems.attempt("trainer", lambda: fit.build_trainer(TrainingJob(retrain_setup, 0, 0), []))
    raise_problems(problems.found)
    return Experiment(
        name=cfg.name,
        seed=cfg.seed,
        array=array,
        fleet=fleet,
        severity=array_rate,  # stages.bind_severity puts another in, which needs the baseline
        severity_name=cfg.selection.severity,
        baseline_setup=_setup(cfg, cfg.baseline, classes),
        retrain_setup=retrain_setup,
        amounts=_amounts(cfg, data),
        fault_rates=tuple(cfg.fault_rates.rates),
        maps_per_rate=cfg.fault_rates.maps_per_rate,
        selection=selection,
        planner=planner,
        compare={name: COMPARE[name] for name in cfg.compare},
    )


def _with(node: DictConfig, method: str) -> Any:
    """Build a part of the user's choice and see that it can do its work."""
    part = instantiate(node)
    if not callable(getattr(part, method, None)):
        raise EfatError(
            f"{node._get_full_key('')}: {type(part).__name__} given; it has no {method}"
        )
    return part


def _array(cfg: DictConfig) -> SystolicArray:
    part = cfg.array
    array = SystolicArray(part.rows, part.cols, part.order, part.dataflow)
    if array.dataflow != "ws" and cfg.selection.severity != "array_rate":
        raise EfatError(
            f"selection.severity: {cfg.selection.severity} given, but array.dataflow="
            f"{array.dataflow} prunes no weight; use array_rate"
        )
    lost = [rate for rate in cfg.fault_rates.rates if round(rate * array.rows * array.cols) < 1]
    if lost:
        raise EfatError(
            f"fault_rates.rates: {lost} given; less than one of the array's "
            f"{array.rows * array.cols} PEs; use higher rates or a larger array"
        )
    return array


def _network(cfg: DictConfig) -> nn.Module:
    network: nn.Module = instantiate(cfg.model)
    mapped_layers(network, tuple(cfg.array.off_array))
    return network


def _check_values(cfg: DictConfig, problems: Problems) -> None:
    """Check what a type alone does not say."""
    rates = list(cfg.fault_rates.rates)
    problems.require(
        bool(rates) and all(0 <= low < high <= 1 for low, high in pairwise([0, *rates])),
        f"fault_rates.rates: {rates} given; increasing numbers in (0, 1] are needed",
    )
    for key, low in (
        ("fault_rates.maps_per_rate", 1),
        ("trainer.accumulate_grad_batches", 1),
        ("seed", 0),
    ):
        value = OmegaConf.select(cfg, key)
        problems.require(value >= low, f"{key}: {value} given; an int >= {low} is needed")
    for key in ("baseline.epochs", "training.budget_epochs", "training.eval_every_epochs"):
        value = OmegaConf.select(cfg, key)
        problems.require(
            0 < value < math.inf, f"{key}: {value} given; a finite number > 0 is needed"
        )
    every, budget = cfg.training.eval_every_epochs, cfg.training.budget_epochs
    problems.require(
        every <= budget,
        f"training.eval_every_epochs: {every} given; at most training.budget_epochs ({budget})",
    )
    clip = cfg.trainer.gradient_clip_val
    problems.require(
        clip is None or 0 < clip < math.inf,
        f"trainer.gradient_clip_val: {clip} given; a finite number > 0 or null is needed",
    )
    problems.require(
        re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", cfg.name) is not None,
        f"name: {cfg.name!r} given; it names a folder: letters, digits, '_', '-' and '.' only",
    )
    problems.require(
        len(set(cfg.compare)) == len(cfg.compare), f"compare: {list(cfg.compare)} names one twice"
    )
    _check_store(cfg, problems)
    _check_choice(problems, "stage", cfg.stage, STAGES)
    _check_choice(problems, "selection.severity", cfg.selection.severity, SEVERITIES)
    for name in cfg.compare:
        _check_choice(problems, "compare", name, tuple(COMPARE))
    _check_scheduler(cfg, problems)


def _check_choice(problems: Problems, key: str, value: str, allowed: tuple[str, ...]) -> None:
    problems.require(value in allowed, f"{key}: {value!r} given; allowed: {', '.join(allowed)}")


def _check_scheduler(cfg: DictConfig, problems: Problems) -> None:
    """Hold the prefix rule (METHOD section 4): a schedule must not know the budget."""
    node = cfg.training.scheduler
    if node is None:
        return
    if not isinstance(node, DictConfig):
        problems.require(False, f"training.scheduler: {node!r} given; null or a _target_ is needed")
        return
    raw = OmegaConf.to_yaml(node)  # with interpolations as they were written
    built = problems.attempt("training", lambda: _try_optimizer(cfg.training))
    names = [type(scheduler).__name__ for scheduler in _nested(built)]
    name = next((n for n in names if n in BUDGET_DEPENDENT), "it")
    problems.require(
        name == "it" and "budget" not in raw,
        f"training.scheduler: {name} depends on the budget, so that a resilience curve could not "
        "be read at a smaller amount (the prefix rule); use null (constant) or a warm-up such as "
        "torch.optim.lr_scheduler.LinearLR with a total_iters of its own",
    )
    problems.require(
        "ReduceLROnPlateau" not in names,
        "training.scheduler: ReduceLROnPlateau given; a function of the step alone is needed",
    )


def _nested(scheduler: Any) -> list[Any]:
    """List a schedule and, for one that is made of others, those too."""
    parts = [part for inner in getattr(scheduler, "_schedulers", ()) for part in _nested(inner)]
    return [scheduler, *parts]


def _check_store(cfg: DictConfig, problems: Problems) -> None:
    """See that the store can be written, and write nothing."""
    folder = Path(cfg.store).absolute()
    while not folder.exists():
        folder = folder.parent
    problems.require(
        folder.is_dir() and os.access(folder, os.W_OK),
        f"store: {cfg.store!r} given, but {folder} is not a folder that can be written to",
    )


def _selection(cfg: DictConfig) -> Selection:
    how = cfg.selection
    problems = Problems()
    constraint = problems.attempt("selection", lambda: Constraint(how.max_drop, how.min_accuracy))
    _check_choice(problems, "selection.stat", how.stat, get_args(Stat))
    _check_choice(problems, "selection.interpolation", how.interpolation, get_args(Interpolation))
    problems.require(
        0 <= how.quantile <= 1, f"selection.quantile: {how.quantile} given; [0, 1] is needed"
    )
    raise_problems(problems.found)
    assert constraint  # noqa: S101 - for mypy
    return Selection(constraint, how.stat, how.quantile, how.interpolation)


def _load_data(cfg: DictConfig) -> pl.LightningDataModule:
    data: pl.LightningDataModule = instantiate(cfg.data)
    data.prepare_data()
    data.setup("fit")
    if len(data.train_dataloader()) == 0:
        raise EfatError("data.batch_size: larger than the training split; use a smaller one")
    return data


def _classes(model: nn.Module, data: pl.LightningDataModule) -> int:
    """Pass one batch through the network; the width of its output is the number of classes."""
    inputs, targets = next(iter(data.train_dataloader()))
    with torch.no_grad():
        logits = model.eval()(inputs)
    classes = int(logits.shape[-1])
    if logits.shape != (len(targets), classes) or int(targets.max()) >= classes:
        raise EfatError(
            f"model: gives an output of shape {tuple(logits.shape)} for {len(targets)} samples "
            f"with labels up to {int(targets.max())}; [batch, classes] with all classes is needed"
        )
    return classes


def _try_optimizer(node: DictConfig) -> Any:
    """Build optimizer and schedule on one parameter; a wrong argument shows here."""
    optimizer = instantiate(node.optimizer)([nn.Parameter(torch.zeros(1))])
    return None if node.scheduler is None else instantiate(node.scheduler)(optimizer)


def _setup(cfg: DictConfig, training: DictConfig, classes: int) -> Setup:
    def plain(node: Any) -> Any:
        return OmegaConf.to_container(node, resolve=True) if node is not None else None

    return Setup(
        model=plain(cfg.model),
        data=plain(cfg.data),
        num_classes=classes,
        trainer=plain(cfg.trainer),
        optimizer=plain(training.optimizer),
        scheduler=plain(training.scheduler),
        off_array=tuple(cfg.array.off_array),
    )


def _amounts(cfg: DictConfig, data: pl.LightningDataModule) -> Amounts:
    """Turn epochs into whole optimizer steps; the budget is a whole number of evaluations."""
    loader, accumulate = data.train_dataloader(), cfg.trainer.accumulate_grad_batches
    if len(loader) % accumulate:
        raise EfatError(
            f"trainer.accumulate_grad_batches: {accumulate} given; a divisor of the {len(loader)} "
            "batches of an epoch is needed, since Lightning cuts the last step of an epoch short"
        )
    steps_per_epoch = len(loader) // accumulate
    every = max(1, round(cfg.training.eval_every_epochs * steps_per_epoch))
    points = max(1, round(cfg.training.budget_epochs * steps_per_epoch / every))
    batch = len(next(iter(loader))[0])
    return Amounts(
        pretrain_steps=max(1, round(cfg.baseline.epochs * steps_per_epoch)),
        budget_steps=points * every,
        eval_every_steps=every,
        steps_per_epoch=steps_per_epoch,
        samples_per_step=batch * accumulate,
    )


def _reason(error: Exception) -> str:
    """Say in one line why something could not be built, without Hydra's bookkeeping."""
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith("full_key")]
    return f"{type(cause).__name__}: {' '.join(useful[:3])}"
