"""From a composed configuration to an experiment: every problem found before any work starts."""

from __future__ import annotations

from typing import Any, get_args

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from efat import fit
from efat.checks import Problems, check_choice, check_values, try_optimizer
from efat.errors import EfatError, raise_problems
from efat.experiment import Amounts, Experiment, Selection
from efat.fit import TrainingJob
from efat.mapping import SystolicArray
from efat.metric import ACCURACY, Metric
from efat.planning.base import Planner
from efat.planning.fixed import Fixed
from efat.planning.individual import Individual
from efat.planning.random import Random
from efat.planning.single import Single
from efat.resilience import Constraint, Interpolation, Stat
from efat.severity import array_rate
from efat.workload import build_workload

COMPARE: dict[str, Planner | None] = {
    "none": None,
    "fixed": Fixed(),
    "individual": Individual(),
    "single": Single(),
    "random": Random([1]),  # stages.plan gives it the sizes of the chosen plan
}


def build_experiment(cfg: DictConfig) -> Experiment:
    """Build and check everything that a campaign needs.

    Raises:
        EfatError: All problems of the configuration at once, each with its key.
    """
    problems = Problems()
    check_values(cfg, problems)
    for key, build in (
        ("baseline", lambda: try_optimizer(cfg.baseline)),
        ("training", lambda: try_optimizer(cfg.training)),
        ("executor", lambda: _with(cfg.executor, "run")),
        ("tracking", lambda: _with(cfg.tracking, "log")),
    ):
        problems.attempt(key, build)
    array = problems.attempt("array", lambda: _array(cfg))
    planner = problems.attempt("planner", lambda: _with(cfg.planner, "__call__"))
    fleet = array and problems.attempt("fleet", lambda: instantiate(cfg.fleet, array, cfg.seed))
    workload = build_workload(cfg, problems)
    metric = workload.metric if workload else ACCURACY
    selection = problems.attempt("selection", lambda: _selection(cfg, metric))
    raise_problems(problems.found)
    # no problem was found, so all of them are there; this tells mypy
    assert array and planner and selection and fleet and workload  # noqa: S101, PT018
    retrain_setup = workload.setup(cfg, cfg.training)
    problems.attempt("trainer", lambda: fit.build_trainer(TrainingJob(retrain_setup, 0, 0), []))
    raise_problems(problems.found)
    return Experiment(
        name=cfg.name,
        seed=cfg.seed,
        array=array,
        fleet=fleet,
        severity=array_rate,  # stages.bind_severity puts another in, which needs the baseline
        severity_name=cfg.selection.severity,
        baseline_setup=workload.setup(cfg, cfg.baseline),
        retrain_setup=retrain_setup,
        amounts=_amounts(cfg, workload.data),
        fault_rates=tuple(cfg.fault_rates.rates),
        maps_per_rate=cfg.fault_rates.maps_per_rate,
        selection=selection,
        planner=planner,
        compare={name: COMPARE[name] for name in cfg.compare},
        metric=workload.metric,
        checkpoint=workload.checkpoint,
        skipped=getattr(workload.data, "skipped", ()),
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


def _selection(cfg: DictConfig, metric: Metric) -> Selection:
    how = cfg.selection
    problems = Problems()
    constraint = problems.attempt("selection", lambda: Constraint(how.max_drop, how.limit, metric))
    check_choice(problems, "selection.stat", how.stat, get_args(Stat))
    check_choice(problems, "selection.interpolation", how.interpolation, get_args(Interpolation))
    problems.require(
        0 <= how.quantile <= 1, f"selection.quantile: {how.quantile} given; [0, 1] is needed"
    )
    raise_problems(problems.found)
    assert constraint  # noqa: S101 - for mypy
    return Selection(constraint, how.stat, how.quantile, how.interpolation)


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
