"""What a type alone does not say about a configuration: checks of single values."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from efat.config import STAGES
from efat.errors import EfatError

Value = TypeVar("Value")

SEVERITIES = ("array_rate", "weight_rate", "magnitude_rate", "taylor_rate")
STRATEGIES = ("none", "greedy", "fixed", "individual", "single", "random")
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
            problems = (
                cause.problems if isinstance(cause, EfatError) else [f"{key}: {_reason(error)}"]
            )
            # the rules, say, are part of the planner too
            self.found += [problem for problem in problems if problem not in self.found]
        return None

    def require(self, holds: bool, problem: str) -> None:
        """Note `problem` unless `holds`."""
        if not holds:
            self.found.append(problem)


def check_values(cfg: DictConfig, problems: Problems) -> None:
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
    check_choice(problems, "stage", cfg.stage, STAGES)
    check_choice(problems, "selection.severity", cfg.selection.severity, SEVERITIES)
    for name in cfg.compare:
        check_choice(problems, "compare", name, STRATEGIES)
    _check_scheduler(cfg, problems)


def check_choice(problems: Problems, key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Note a problem unless `value` is one of `allowed`."""
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
    built = problems.attempt("training", lambda: try_optimizer(cfg.training))
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


def try_optimizer(node: DictConfig) -> Any:
    """Build optimizer and schedule on one parameter; a wrong argument shows here."""
    optimizer = instantiate(node.optimizer)([nn.Parameter(torch.zeros(1))])
    return None if node.scheduler is None else instantiate(node.scheduler)(optimizer)


def _reason(error: Exception) -> str:
    """Say in one line why something could not be built, without Hydra's bookkeeping."""
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith("full_key")]
    return f"{type(cause).__name__}: {' '.join(useful[:3])}"
