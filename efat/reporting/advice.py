"""What a user can do next where chips fall short: a sentence or two that hold for the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from efat.io import pluralise
from efat.training import REPAIR_STEPS


@dataclass(frozen=True)
class Settings:
    """What has been done already, so that nothing is advised twice.

    Args:
        recipe: Steps of the recipe.
        sustained: Evaluations in a row that meet the constraint (`selection.sustained`).
        evaluations: Of a resilience curve.
        constraint: Key that sets the constraint: `selection.max_drop` or `selection.limit`.
        repairable: Whether repair before retraining is possible: weight-stationary arrays.
        until_met: Whether each chip was trained on until it met the constraint, or for the budget.
        kept_groups: Groups whose training on diverged: more of it would diverge again.
        undecided: Unsalvageable chips of which an analysis without a limit might know more.
    """

    recipe: tuple[str, ...]
    sustained: int
    evaluations: int
    constraint: str
    repairable: bool
    until_met: bool = False
    kept_groups: tuple[str, ...] = ()
    undecided: int = 0


REPAIR = (
    "recipe=remap_compensate training=repaired (+experiment=resnet_fat_repair for the main job)"
)


def next_steps(chips: Sequence[Mapping[str, Any]], settings: Settings) -> str | None:
    """Say what may bring chips that miss the constraint to it; None: there are none.

    Args:
        chips: A row a chip, with `met_val`, `met_test`, `salvageable` and `group_size`.
        settings: What has been done already.
    """
    short = [row for row in chips if row["salvageable"] and not row["met_test"]]
    lost = sum(not row["salvageable"] for row in chips) - settings.undecided
    found = []
    if short:
        ways = _for_short(short, settings)
        found.append(f"For the {pluralise(len(short), 'short chip')}, try {_either(ways)}.")
    if settings.undecided:
        whom = pluralise(settings.undecided, "undecided chip")
        found.append(f"For the {whom}, try a larger fault_rates.max_cost, or none.")
    if lost:
        ways = _retrain(settings) or ["a larger training.budget_epochs"]
        ways += [] if short else [*_repair(settings), _looser(settings)]
        found.append(f"For the {pluralise(lost, 'unsalvageable chip')}, try {_either(ways)}.")
    return " ".join(found) or None


def _for_short(short: Sequence[Mapping[str, Any]], settings: Settings) -> list[str]:
    ways, retrains = _repair(settings), "retrain" in settings.recipe
    ways += _retrain(settings)
    ended = [row for row in short if row.get("group") not in settings.kept_groups]
    diverged, unmet = len(short) - len(ended), sum(not row["met_val"] for row in ended)
    if diverged:
        ways.append(f"a lower training.optimizer.lr (chips whose training diverged: {diverged})")
    if retrains and unmet and settings.until_met:
        ways.append(
            f"a larger training.budget_epochs (of these short on validation at its end: {unmet})"
        )
    elif retrains and unmet and "top_up" not in settings.recipe:
        steps = ",".join([*settings.recipe, "top_up"])
        ways.append(f"recipe.steps=[{steps}], which trains on where validation is short")
    shared = sum(row["group_size"] > 1 for row in short)
    if shared:  # repair leaves few to train, so that few stop where a noisy curve first crosses
        alone = "early_stop" if set(REPAIR_STEPS) & set(settings.recipe) else "individual"
        ways.append(
            f"planner={alone}, a model a chip, so that none carries another's zeros (chips that "
            f"share one: {shared})"
        )
    unsure, often = sum(row["met_val"] for row in short), settings.sustained + 1
    if retrains and unsure and often <= settings.evaluations:
        ways.append(
            f"selection.sustained={often} with a larger training.budget_epochs, which asks for "
            f"{often} evaluations in a row (met on validation, not on test: {unsure})"
        )
    return [*ways, _looser(settings)]


def _repair(settings: Settings) -> list[str]:
    """Return repair where it is possible and not done: what helped most in the records."""
    done = not settings.repairable or set(REPAIR_STEPS) & set(settings.recipe)
    return [] if done else [f"repair before retraining, {REPAIR}"]


def _retrain(settings: Settings) -> list[str]:
    """Return retraining where the recipe only repairs."""
    steps = ",".join([*settings.recipe, "retrain"])
    retrains = "retrain" in settings.recipe
    return [] if retrains else [f"recipe.steps=[{steps}], which retrains after the repair"]


def _looser(settings: Settings) -> str:
    return f"a looser constraint ({settings.constraint})"


def _either(ways: Sequence[str]) -> str:
    """Join alternatives.

    >>> _either(["a"]), _either(["a", "b", "c"])
    ('a', 'a; b; or c')
    """
    return "; ".join([*ways[:-1], f"or {ways[-1]}"]) if len(ways) > 1 else ways[0]
