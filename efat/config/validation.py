"""What a type alone does not say about a configuration: checks of single values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from inspect import Parameter, signature
from itertools import pairwise
from typing import Any, TypeVar, get_args

import torch
from hydra.errors import HydraException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError
from torch import nn

from efat.config.override_errors import not_given
from efat.config.schema import STAGES
from efat.errors import EfatError, raise_problems
from efat.resilience import IN_WORDS, Search

Value = TypeVar("Value")

SEVERITIES = tuple(IN_WORDS)
BUDGET_DEPENDENT = ("CosineAnnealingLR", "OneCycleLR", "PolynomialLR")


class ErrorCollector:
    """Collects what is wrong, so that a user sees all of it at once.

    Args:
        found: What is known already.
        left_out: Keys whose value is not the one that the user gave.
    """

    def __init__(self, found: Iterable[str] = (), left_out: Iterable[str] = ()) -> None:
        self.found = list(found)
        self.left_out = set(left_out)

    def try_build(self, key: str, build: Callable[[], Value]) -> Value | None:
        """Return what `build` makes, or None after noting why it failed under `key`."""
        try:
            return build()
        except Exception as error:  # a user's class may raise anything from its constructor
            cause = error.__cause__ if isinstance(error, HydraException) else error
            self.left_out.add(key)
            if isinstance(cause, MissingMandatoryValue):
                self.found.append(not_given(str(cause.full_key)))
            elif isinstance(cause, EfatError):
                self.found += cause.problems
            elif not isinstance(cause, InterpolationToMissingValueError):  # that one is named
                self.found.append(f"{key}: {_reason(error)}")
        return None

    def check(self, holds: bool, problem: str, *keys: str) -> bool:
        """Note `problem`, which is about `keys`, unless `holds`; return `holds`."""
        if not holds:
            self.found.append(problem)
            self.left_out.update(keys)
        return holds

    def is_valid(self, *keys: str) -> bool:
        """Tell whether all of `keys`, and all keys in them, are as the user wants them.

        What relates several keys cannot be judged otherwise.

        >>> problems = ErrorCollector(left_out=["array.rows", "planner"])
        >>> [problems.is_valid(key) for key in ("array", "array.cols", "planner.k")]
        [False, True, False]
        """
        return not any(
            f"{key}.".startswith(f"{out}.") or f"{out}.".startswith(f"{key}.")
            for key in keys
            for out in self.left_out
        )


def build(node: DictConfig) -> Any:
    """Build what a node names.

    Raises:
        EfatError: Every argument that the node gives and the target does not take.
        Exception: Whatever the target raises.
    """
    parameters = _parameters(node)
    if parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        raise_problems(
            f"{node._get_full_key(str(key))}: {node[key]!r} given; {node._target_} takes no such "
            f"argument, but: {', '.join(parameters)}"
            for key in node
            if key not in parameters and not str(key).startswith("_")
        )
    return instantiate(node, _convert_="all")  # lists and dicts, as jobs build it


def _parameters(node: DictConfig) -> Mapping[str, Parameter]:
    """Return what a node's target takes; nothing where that is not known."""
    try:
        return signature(get_object(node._target_)).parameters
    except Exception:  # no such target, of which Hydra tells; or one of C, without a signature
        return {}


def check_values(cfg: DictConfig, problems: ErrorCollector) -> None:
    """Check what a type alone does not say."""
    for key, check in (
        ("fault_rates", _check_rates),
        ("training", _check_amounts),
        ("hardening", _check_hardening),
        ("trainer", _check_trainer),
        ("name", _check_name),
        ("compare", _check_compare),
        ("training.optimizer", _check_optimizers),
    ):
        problems.try_build(key, partial(check, cfg, problems))
    check_choice(problems, "stage", cfg.stage, STAGES)
    check_choice(problems, "selection.severity", cfg.selection.severity, SEVERITIES)
    _require_int(cfg, problems, "seed", 0)
    _require_int(cfg, problems, "checkpoint_every", 0)


def _check_rates(cfg: DictConfig, problems: ErrorCollector) -> None:
    _require_int(cfg, problems, "fault_rates.maps_per_rate", 1)
    check_choice(problems, "fault_rates.search", cfg.fault_rates.search, get_args(Search))
    rates = list(cfg.fault_rates.rates)
    problems.check(
        bool(rates) and all(0 <= low < high <= 1 for low, high in pairwise([0, *rates])),
        f"fault_rates.rates: {rates} given; increasing numbers in (0, 1] are needed",
        "fault_rates.rates",
    )
    if cfg.fault_rates.max_cost is not None and problems.is_valid("fault_rates"):
        _check_max_cost(cfg.fault_rates, problems)


def _check_max_cost(grid: DictConfig, problems: ErrorCollector) -> None:
    """Refuse a limit without a search that could keep it, or too low for a single fault rate."""
    problems.check(
        grid.search == "bisect",
        f"fault_rates.max_cost: {grid.max_cost:g} given with fault_rates.search={grid.search}, "
        "which measures every fault rate; use fault_rates.search=bisect, or null",
    )
    least = math.ceil(1e4 / len(grid.rates)) / 1e4  # rounded up: what is shown is allowed
    problems.check(
        1 / len(grid.rates) - 1e-9 <= grid.max_cost <= 1,
        f"fault_rates.max_cost: {grid.max_cost} given; a number in [{least:g}, 1] is needed: "
        f"one of {len(grid.rates)} fault rates can take that much",
    )


def _check_amounts(cfg: DictConfig, problems: ErrorCollector) -> None:
    for key in (
        "baseline.epochs",
        "hardening.epochs",
        "training.budget_epochs",
        "training.eval_every_epochs",
    ):
        value = OmegaConf.select(cfg, key)
        if value is not None:  # else it is missing, and named already
            problems.check(
                0 < value < math.inf, f"{key}: {value} given; a finite number > 0 is needed", key
            )
    every, budget = cfg.training.eval_every_epochs, cfg.training.budget_epochs
    if problems.is_valid("training.eval_every_epochs", "training.budget_epochs"):
        problems.check(
            every <= budget,
            f"training.eval_every_epochs: {every} given; at most training.budget_epochs ({budget})",
            "training.eval_every_epochs",
        )


def _check_hardening(cfg: DictConfig, problems: ErrorCollector) -> None:
    rates = list(cfg.hardening.fault_rate)
    problems.check(
        len(rates) == 2 and 0 <= rates[0] <= rates[1] <= 1,
        f"hardening.fault_rate: {rates} given; [lowest, highest] in [0, 1] is needed",
        "hardening.fault_rate",
    )
    try_training(cfg.hardening, "hardening", problems)


def _check_trainer(cfg: DictConfig, problems: ErrorCollector) -> None:
    _require_int(cfg, problems, "trainer.accumulate_grad_batches", 1)
    clip = cfg.trainer.gradient_clip_val
    problems.check(
        clip is None or 0 < clip < math.inf,
        f"trainer.gradient_clip_val: {clip} given; a finite number > 0 or null is needed",
        "trainer.gradient_clip_val",
    )


def _check_name(cfg: DictConfig, problems: ErrorCollector) -> None:
    problems.check(
        re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", cfg.name) is not None,
        f"name: {cfg.name!r} given; it names a folder: letters, digits, '_', '-' and '.' only",
    )


def _check_compare(cfg: DictConfig, problems: ErrorCollector) -> None:
    problems.check(
        len(set(cfg.compare)) == len(cfg.compare), f"compare: {list(cfg.compare)} names one twice"
    )


def _require_int(cfg: DictConfig, problems: ErrorCollector, key: str, least: int) -> None:
    value = OmegaConf.select(cfg, key)
    if value is not None:  # else it is missing, and named already
        problems.check(value >= least, f"{key}: {value} given; an int >= {least} is needed", key)


def check_choice(problems: ErrorCollector, key: str, value: str, allowed: Collection[str]) -> None:
    """Note a problem unless `value` is one of `allowed`."""
    problems.check(value in allowed, f"{key}: {value!r} given; allowed: {', '.join(allowed)}", key)


def _check_optimizers(cfg: DictConfig, problems: ErrorCollector) -> None:
    """Build the optimizers and schedules; the one for retraining must not know the budget."""
    try_training(cfg.baseline, "baseline", problems)
    built = try_training(cfg.training, "training", problems)
    if not isinstance(cfg.training.scheduler, DictConfig):
        return
    raw = OmegaConf.to_yaml(cfg.training.scheduler)  # with interpolations as they were written
    names = [type(scheduler).__name__ for scheduler in _nested(built)]
    name = next((n for n in names if n in BUDGET_DEPENDENT), "it")
    problems.check(
        name == "it" and "budget" not in raw,
        f"training.scheduler: {name} depends on the budget, so that a resilience curve could not "
        "be read at a smaller amount (the prefix rule, METHOD section 4); use null (constant) or a "
        "warm-up such as torch.optim.lr_scheduler.LinearLR with a total_iters of its own",
    )
    problems.check(
        "ReduceLROnPlateau" not in names,
        "training.scheduler: ReduceLROnPlateau given; a function of the step alone is needed",
    )


def try_training(node: DictConfig, key: str, problems: ErrorCollector) -> Any:
    """Build optimizer and schedule on one parameter, a wrong argument shows here; return the last.

    Without a valid optimizer the schedule is built on one of torch's.
    """
    weights = [nn.Parameter(torch.zeros(1))]
    optimizer = problems.try_build(f"{key}.optimizer", lambda: instantiate(node.optimizer)(weights))
    optimizer = optimizer or torch.optim.SGD(weights, 0.1, momentum=0.9)
    schedule = node.scheduler
    if schedule is not None and not isinstance(schedule, DictConfig):
        problems.check(False, f"{key}.scheduler: {schedule!r} given; null or a _target_ is needed")
    elif schedule is not None:
        return problems.try_build(f"{key}.scheduler", lambda: instantiate(schedule)(optimizer))
    return None


def _nested(scheduler: Any) -> list[Any]:
    """List a schedule and, for one that is made of others, those too."""
    parts = [part for inner in getattr(scheduler, "_schedulers", ()) for part in _nested(inner)]
    return [scheduler, *parts]


def _reason(error: Exception) -> str:
    """Say in one line why something could not be built, without Hydra's bookkeeping."""
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith("full_key")]
    return f"{type(cause).__name__}: {' '.join(useful[:3])}"
