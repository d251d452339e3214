"""Try the arguments of optimizers, schedules and Lightning's trainer before any work."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from torch import nn

from efat.config.validation import ErrorCollector
from efat.errors import EfatError
from efat.training import trainer

BUDGET_DEPENDENT = ("CosineAnnealingLR", "OneCycleLR", "PolynomialLR")


def check_training(cfg: DictConfig, errors: ErrorCollector) -> None:
    """Build all optimizers, schedules and the trainer once."""
    _try_optimizer(cfg.baseline, "baseline", errors)
    _try_optimizer(cfg.hardening, "hardening", errors)
    schedule = _try_optimizer(cfg.training, "training", errors)
    if isinstance(cfg.training.scheduler, DictConfig):
        _check_prefix_rule(cfg.training.scheduler, schedule, errors)
    _check_trainer(cfg, errors)


def _try_optimizer(node: DictConfig, key: str, errors: ErrorCollector) -> Any:
    """Build optimizer and schedule on one parameter; return the schedule.

    Without a valid optimizer the schedule is built on one of torch's.
    """
    weights = [nn.Parameter(torch.zeros(1))]
    optimizer = errors.try_build(f"{key}.optimizer", lambda: instantiate(node.optimizer)(weights))
    optimizer = optimizer or torch.optim.SGD(weights, 0.1, momentum=0.9)
    schedule = node.scheduler
    if isinstance(schedule, DictConfig):
        return errors.try_build(f"{key}.scheduler", lambda: instantiate(schedule)(optimizer))
    errors.check(
        schedule is None, f"{key}.scheduler: {schedule!r} given; null or a _target_ is needed"
    )
    return None


def _check_prefix_rule(node: DictConfig, schedule: Any, errors: ErrorCollector) -> None:
    """Refuse a schedule that depends on the budget, or on more than the step."""
    names = [type(each).__name__ for each in _nested(schedule)]
    name = next((each for each in names if each in BUDGET_DEPENDENT), "it")
    errors.check(
        name == "it" and "budget" not in OmegaConf.to_yaml(node),  # interpolations unresolved
        f"training.scheduler: {name} depends on the budget, so that a resilience curve could not "
        "be read at a smaller amount (the prefix rule, METHOD section 4); use null (constant) or a "
        "warm-up such as torch.optim.lr_scheduler.LinearLR with a total_iters of its own",
    )
    errors.check(
        "ReduceLROnPlateau" not in names,
        "training.scheduler: ReduceLROnPlateau given; a function of the step alone is needed",
    )


def _nested(scheduler: Any) -> list[Any]:
    """List a schedule and, for one that is made of others, those too."""
    parts = [part for inner in getattr(scheduler, "_schedulers", ()) for part in _nested(inner)]
    return [scheduler, *parts]


def _check_trainer(cfg: DictConfig, errors: ErrorCollector) -> None:
    """Try Lightning's arguments one by one, since it stops at the first; then all together."""
    arguments = {
        str(key): value
        for key, value in cfg.trainer.items()
        if key != "channels_last" and errors.is_valid(f"trainer.{key}")
    }
    for key, value in arguments.items():
        errors.try_build(f"trainer.{key}", partial(_try_trainer, {key: value}))
    launched = str(cfg.executor.get("_target_")).endswith(".Launch")
    errors.check(
        cfg.trainer.devices == 1 or launched,
        f"trainer.devices: {cfg.trainer.devices} given; with more than one use executor=launch",
    )
    if errors.is_valid("trainer"):
        errors.try_build("trainer", lambda: _try_trainer(arguments))


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


def check_batches(cfg: DictConfig, data: pl.LightningDataModule) -> None:
    """Refuse accumulated batches that do not divide an epoch."""
    batches, accumulate = len(data.train_dataloader()), cfg.trainer.accumulate_grad_batches
    if batches % accumulate:
        raise EfatError(
            f"trainer.accumulate_grad_batches: {accumulate} given; a divisor of the {batches} "
            "batches of an epoch is needed, since Lightning cuts the last step of an epoch short"
        )
