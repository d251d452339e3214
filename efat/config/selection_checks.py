"""How curves are to become amounts: checked before any work starts."""

from __future__ import annotations

from typing import get_args

from omegaconf import DictConfig

from efat.campaign import Selection
from efat.config.validation import ErrorCollector, check_choice
from efat.resilience import (
    Constraint,
    Interpolation,
    Metric,
    Monotone,
    Stat,
    check_monotone,
    conformal_rank,
)


def build_selection(cfg: DictConfig, metric: Metric, problems: ErrorCollector) -> Selection | None:
    """Note every problem of `cfg.selection`; None where the constraint cannot be judged.

    Raises:
        EfatError: The constraint is none.
    """
    how = cfg.selection
    check_choice(problems, "selection.stat", how.stat, get_args(Stat))
    check_choice(problems, "selection.monotone", how.monotone, get_args(Monotone))
    if problems.is_valid("selection.stat"):
        problems.try_build("selection.monotone", lambda: check_monotone(how.monotone, how.stat))
    check_choice(problems, "selection.interpolation", how.interpolation, get_args(Interpolation))
    problems.check(
        0 <= how.quantile <= 1, f"selection.quantile: {how.quantile} given; [0, 1] is needed"
    )
    problems.check(
        how.sustained >= 1, f"selection.sustained: {how.sustained} given; an int >= 1 is needed"
    )
    if how.stat == "conformal":
        _check_conformal(cfg, problems)
    problems.check(
        0 < how.confidence < 1,
        f"selection.confidence: {how.confidence} given; a number in (0, 1) is needed",
    )
    if not problems.is_valid("selection.max_drop", "selection.limit"):
        return None
    constraint = Constraint(how.max_drop, how.limit, metric)
    return Selection(
        constraint,
        how.stat,
        how.quantile,
        how.interpolation,
        how.confidence,
        how.sustained,
        how.monotone,
    )


def _check_conformal(cfg: DictConfig, problems: ErrorCollector) -> None:
    """Refuse what conformal amounts make no statement about."""
    how = cfg.selection
    problems.check(
        how.interpolation == "ceil",
        f"selection.interpolation: {how.interpolation} given; selection.stat=conformal is about "
        "the fault rates of the analysis, so that a rate between two takes the next: use ceil",
    )
    if 0 <= how.quantile <= 1 and problems.is_valid("fault_rates.maps_per_rate"):
        maps = cfg.fault_rates.maps_per_rate
        problems.try_build("fault_rates", lambda: conformal_rank(maps, how.quantile))
