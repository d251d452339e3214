"""Advise what to do next where chips fail."""

from __future__ import annotations

from collections.abc import Sequence

from efat.campaign.run_result import RunResult
from efat.campaign.tables import ChipResult
from efat.io import pluralise
from efat.training import REPAIR_STEPS

REPAIR = (
    "recipe=remap_compensate training=repaired (+experiment=resnet_fat_repair for the main job)"
)


def next_steps(run: RunResult) -> str | None:
    """Say what may make failing chips pass; None: every chip passes."""
    failing = [chip for chip in run.chips if chip.salvageable and not chip.pass_test]
    undecided = len(run.outcome.undecided)
    unsalvageable = sum(not chip.salvageable for chip in run.chips) - undecided
    advice = []
    if failing:
        ways = _for_failing(run, failing)
        advice.append(f"For the {pluralise(len(failing), 'failing chip')}, try {_either(ways)}.")
    if undecided:
        whom = pluralise(undecided, "undecided chip")
        advice.append(f"For the {whom}, try a larger fault_rates.max_cost, or none.")
    if unsalvageable:
        ways = _retrain(run) or ["a larger training.budget_epochs"]
        ways += [] if failing else [*_repair(run), _looser(run)]
        whom = pluralise(unsalvageable, "unsalvageable chip")
        advice.append(f"For the {whom}, try {_either(ways)}.")
    return " ".join(advice) or None


def _for_failing(run: RunResult, failing: Sequence[ChipResult]) -> list[str]:
    recipe, sustained = run.outcome.recipe, run.settings.sustained
    retrains = "retrain" in recipe
    ways = [*_repair(run), *_retrain(run)]
    ended = [chip for chip in failing if chip.group not in run.chosen.kept_groups]
    diverged, unmet = len(failing) - len(ended), sum(not chip.pass_val for chip in ended)
    if diverged:
        ways.append(f"a lower training.optimizer.lr (chips whose training diverged: {diverged})")
    if retrains and unmet and run.until_met:
        ways.append(
            f"a larger training.budget_epochs (of these failing on validation at its end: {unmet})"
        )
    elif retrains and unmet and "top_up" not in recipe:
        steps = ",".join([*recipe, "top_up"])
        ways.append(f"recipe.steps=[{steps}], which trains further where validation fails")
    shared = sum(chip.group_size > 1 for chip in failing)
    if shared:  # repair leaves little to train, so that few stop where a noisy curve first crosses
        alone = "early_stop" if set(REPAIR_STEPS) & set(recipe) else "individual"
        ways.append(
            f"planner={alone}, one model per chip, so that no chip carries the pruned weights of "
            f"another (chips that share a model: {shared})"
        )
    unsure, often = sum(chip.pass_val for chip in failing), sustained + 1
    evaluations = run.amounts.budget_steps // run.amounts.eval_every_steps + 1
    if retrains and unsure and often <= evaluations:
        ways.append(
            f"selection.sustained={often} with a larger training.budget_epochs, which requires "
            f"{often} evaluations in a row (pass on validation, fail on test: {unsure})"
        )
    return [*ways, _looser(run)]


def _repair(run: RunResult) -> list[str]:
    """Return repair where it is possible and not done: it helped most in the records."""
    repaired = set(REPAIR_STEPS) & set(run.outcome.recipe)
    possible = run.settings.array.dataflow == "ws" and not repaired
    return [f"repair before retraining, {REPAIR}"] if possible else []


def _retrain(run: RunResult) -> list[str]:
    """Return retraining where the recipe only repairs."""
    recipe = run.outcome.recipe
    steps = ",".join([*recipe, "retrain"])
    retrains = "retrain" in recipe
    return [] if retrains else [f"recipe.steps=[{steps}], which retrains after the repair"]


def _looser(run: RunResult) -> str:
    return f"a looser constraint ({run.settings.constraint})"


def _either(ways: Sequence[str]) -> str:
    """Join alternatives.

    >>> _either(["a"]), _either(["a", "b", "c"])
    ('a', 'a; b; or c')
    """
    return "; ".join([*ways[:-1], f"or {ways[-1]}"]) if len(ways) > 1 else ways[0]
