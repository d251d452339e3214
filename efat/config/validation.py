"""Collect errors, build nodes, and check values and rules that the schema's types do not cover."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from inspect import Parameter, signature
from itertools import pairwise
from typing import Any, TypeVar, get_args

from hydra.errors import HydraException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

from efat.config.override_errors import not_given
from efat.config.schema import STAGES
from efat.errors import EfatError, raise_problems
from efat.hardware import SystolicArray
from efat.resilience import (
    IN_WORDS,
    Interpolation,
    Monotone,
    Search,
    Stat,
    check_monotone,
    conformal_rank,
)

Value = TypeVar("Value")

SEVERITIES = tuple(IN_WORDS)


class ErrorCollector:
    """Collects problems, so that a user sees all of them at once.

    Args:
        problems: Problems that are known already.
        invalid_keys: Keys whose value in the configuration is not the one that the user gave.
    """

    def __init__(self, problems: Iterable[str] = (), invalid_keys: Iterable[str] = ()) -> None:
        self.problems = list(problems)
        self.invalid_keys = set(invalid_keys)

    def try_build(self, key: str, build: Callable[[], Value]) -> Value | None:
        """Return the result of `build`, or None after noting under `key` why it failed."""
        try:
            return build()
        except Exception as error:  # a user's class may raise anything from its constructor
            cause = error.__cause__ if isinstance(error, HydraException) else error
            self.invalid_keys.add(key)
            if isinstance(cause, MissingMandatoryValue):
                self.problems.append(not_given(str(cause.full_key)))
            elif isinstance(cause, EfatError):
                self.problems += cause.problems
            elif not isinstance(cause, InterpolationToMissingValueError):  # that one is named
                self.problems.append(f"{key}: {_reason(error)}")
        return None

    def check(self, holds: bool, problem: str, *keys: str) -> None:
        """Note `problem`, which is about `keys`, unless `holds`."""
        if not holds:
            self.problems.append(problem)
            self.invalid_keys.update(keys)

    def check_choice(self, key: str, value: str, allowed: Collection[str]) -> None:
        """Note a problem unless `value` is one of `allowed`."""
        self.check(value in allowed, f"{key}: {value!r} given; allowed: {', '.join(allowed)}", key)

    def check_int(self, cfg: DictConfig, key: str, least: int) -> None:
        """Note a problem if the int at `key` is below `least`; a missing one is named already."""
        value = OmegaConf.select(cfg, key)
        if value is not None:
            self.check(value >= least, f"{key}: {value} given; an int >= {least} is needed", key)

    def is_valid(self, *keys: str) -> bool:
        """Return whether all of `keys`, and all keys in them, have the values the user gave.

        A rule between several keys cannot be judged otherwise.

        >>> errors = ErrorCollector(invalid_keys=["array.rows", "planner"])
        >>> [errors.is_valid(key) for key in ("array", "array.cols", "planner.k")]
        [False, True, False]
        """
        return not any(
            f"{key}.".startswith(f"{invalid}.") or f"{invalid}.".startswith(f"{key}.")
            for key in keys
            for invalid in self.invalid_keys
        )


def build_part(node: DictConfig, *arguments: Any) -> Any:
    """Build the object that a node names.

    Args:
        node: Has `_target_` and its arguments by name.
        arguments: Further ones, by position.

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
    return instantiate(node, *arguments, _convert_="all")  # lists and dicts, as jobs build it


def _parameters(node: DictConfig) -> Mapping[str, Parameter]:
    """Return the parameters of a node's target; none where they are not known."""
    try:
        return signature(get_object(node._target_)).parameters
    except Exception:  # Hydra names a missing target; some of C have no signature
        return {}


def check_values(cfg: DictConfig, errors: ErrorCollector) -> None:
    """Check values that the schema's types do not cover, one section after the other."""
    for key, check in (
        ("fault_rates", _check_rates),
        ("training", _check_amounts),
        ("hardening", _check_hardening),
        ("selection", _check_selection),
        ("trainer", _check_trainer),
        ("name", _check_name),
        ("compare", _check_compare),
    ):
        errors.try_build(key, partial(check, cfg, errors))
    errors.check_choice("stage", cfg.stage, STAGES)
    errors.check_int(cfg, "seed", 0)
    errors.check_int(cfg, "checkpoint_every", 0)


def _check_rates(cfg: DictConfig, errors: ErrorCollector) -> None:
    errors.check_int(cfg, "fault_rates.maps_per_rate", 1)
    errors.check_choice("fault_rates.search", cfg.fault_rates.search, get_args(Search))
    rates = list(cfg.fault_rates.rates)
    errors.check(
        bool(rates) and all(0 <= low < high <= 1 for low, high in pairwise([0, *rates])),
        f"fault_rates.rates: {rates} given; increasing numbers in (0, 1] are needed",
        "fault_rates.rates",
    )
    if cfg.fault_rates.max_cost is not None and errors.is_valid("fault_rates"):
        _check_max_cost(cfg.fault_rates, errors)


def _check_max_cost(grid: DictConfig, errors: ErrorCollector) -> None:
    """Refuse a limit without a search that keeps it, or too low for a single fault rate."""
    errors.check(
        grid.search == "bisect",
        f"fault_rates.max_cost: {grid.max_cost:g} given with fault_rates.search={grid.search}, "
        "which measures every fault rate; use fault_rates.search=bisect, or null",
    )
    least = math.ceil(1e4 / len(grid.rates)) / 1e4  # rounded up: what is shown is allowed
    errors.check(
        1 / len(grid.rates) - 1e-9 <= grid.max_cost <= 1,
        f"fault_rates.max_cost: {grid.max_cost} given; a number in [{least:g}, 1] is needed: "
        f"one of {len(grid.rates)} fault rates can take that much",
    )


def _check_amounts(cfg: DictConfig, errors: ErrorCollector) -> None:
    for key in (
        "baseline.epochs",
        "hardening.epochs",
        "training.budget_epochs",
        "training.eval_every_epochs",
    ):
        value = OmegaConf.select(cfg, key)
        if value is not None:  # else it is missing, and named already
            errors.check(
                0 < value < math.inf, f"{key}: {value} given; a finite number > 0 is needed", key
            )
    every, budget = cfg.training.eval_every_epochs, cfg.training.budget_epochs
    if errors.is_valid("training.eval_every_epochs", "training.budget_epochs"):
        errors.check(
            every <= budget,
            f"training.eval_every_epochs: {every} given; at most training.budget_epochs ({budget})",
            "training.eval_every_epochs",
        )


def _check_hardening(cfg: DictConfig, errors: ErrorCollector) -> None:
    rates = list(cfg.hardening.fault_rate)
    errors.check(
        len(rates) == 2 and 0 <= rates[0] <= rates[1] <= 1,
        f"hardening.fault_rate: {rates} given; [lowest, highest] in [0, 1] is needed",
        "hardening.fault_rate",
    )


def _check_name(cfg: DictConfig, errors: ErrorCollector) -> None:
    errors.check(
        re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", cfg.name) is not None,
        f"name: {cfg.name!r} given; it names a folder: letters, digits, '_', '-' and '.' only",
    )


def _check_compare(cfg: DictConfig, errors: ErrorCollector) -> None:
    errors.check(
        len(set(cfg.compare)) == len(cfg.compare), f"compare: {list(cfg.compare)} names one twice"
    )


def _require_int(cfg: DictConfig, errors: ErrorCollector, key: str, least: int) -> None:
    value = OmegaConf.select(cfg, key)
    if value is not None:  # else it is missing, and named already
        errors.check(value >= least, f"{key}: {value} given; an int >= {least} is needed", key)


def _check_selection(cfg: DictConfig, errors: ErrorCollector) -> None:
    part = cfg.selection
    errors.check_choice("selection.severity", part.severity, SEVERITIES)
    errors.check_choice("selection.stat", part.stat, get_args(Stat))
    errors.check_choice("selection.monotone", part.monotone, get_args(Monotone))
    errors.check_choice("selection.interpolation", part.interpolation, get_args(Interpolation))
    errors.check(
        0 <= part.quantile <= 1,
        f"selection.quantile: {part.quantile} given; [0, 1] is needed",
        "selection.quantile",
    )
    errors.check(
        0 < part.confidence < 1,
        f"selection.confidence: {part.confidence} given; a number in (0, 1) is needed",
    )
    errors.check_int(cfg, "selection.sustained", 1)
    if errors.is_valid("selection.stat"):
        errors.try_build("selection.monotone", lambda: check_monotone(part.monotone, part.stat))
    if part.stat == "conformal":
        _check_conformal(cfg, errors)


def _check_conformal(cfg: DictConfig, errors: ErrorCollector) -> None:
    """Refuse settings about which conformal amounts make no statement."""
    part = cfg.selection
    errors.check(
        part.interpolation == "ceil",
        f"selection.interpolation: {part.interpolation} given; selection.stat=conformal is about "
        "the fault rates of the analysis, so that a rate between two takes the next: use ceil",
    )
    if errors.is_valid("selection.quantile", "fault_rates.maps_per_rate"):
        maps = cfg.fault_rates.maps_per_rate
        errors.try_build("fault_rates", lambda: conformal_rank(maps, part.quantile))


def _check_trainer(cfg: DictConfig, errors: ErrorCollector) -> None:
    errors.check_int(cfg, "trainer.accumulate_grad_batches", 1)
    clip = cfg.trainer.gradient_clip_val
    errors.check(
        clip is None or 0 < clip < math.inf,
        f"trainer.gradient_clip_val: {clip} given; a finite number > 0 or null is needed",
        "trainer.gradient_clip_val",
    )


def check_array(cfg: DictConfig, array: SystolicArray | None, errors: ErrorCollector) -> None:
    """Check the severity and the fault rates against the array."""
    dataflow, severity = cfg.array.dataflow, cfg.selection.severity
    if errors.is_valid("array.dataflow", "selection.severity"):
        errors.check(
            dataflow not in ("os", "is") or severity == "array_rate",
            f"selection.severity: {severity} given, but array.dataflow={dataflow} prunes no "
            "weight; use array_rate",
        )
    if array and errors.is_valid("array", "fault_rates"):
        pes = array.rows * array.cols
        too_low = [rate for rate in cfg.fault_rates.rates if round(rate * pes) < 1]
        errors.check(
            not too_low,
            f"fault_rates.rates: {too_low} given; less than one of the array's {pes} PEs; use "
            "higher rates or a larger array",
        )


def _reason(error: Exception) -> str:
    """Return in one line why something could not be built, without Hydra's bookkeeping."""
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith("full_key")]
    return f"{type(cause).__name__}: {' '.join(useful[:3])}"
