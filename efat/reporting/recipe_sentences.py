"""Sentences about what the recipe did to the chips: hardening, repair, training, divergence."""

from __future__ import annotations

from collections.abc import Sequence

from efat.campaign import diverged_note
from efat.campaign.run_result import RunResult
from efat.io import pluralise
from efat.planning import NoRemap
from efat.resilience import kept_note
from efat.training import REPAIR_STEPS

NAMED = 12
"""Chips named in a sentence; further ones are counted, and marked in the table."""


def some_names(chips: Sequence[str]) -> str:
    """Write names; from `NAMED` on they are counted."""
    more = len(chips) - NAMED
    return ", ".join(chips[:NAMED]) + (f" and {more} more" if more > 0 else "")


def repair_steps(run: RunResult) -> list[str]:
    """Return the steps before retraining."""
    return [step for step in run.outcome.recipe if step in REPAIR_STEPS]


def repair_sentences(run: RunResult) -> list[str]:
    """Say what is done before retraining, what it took, and what the hardware must offer."""
    steps, outcome = repair_steps(run), run.outcome
    if not steps:
        return []
    mode = {"compensate": f"compensate ({outcome.mode})"}
    recipe = ", ".join(mode.get(step, step) for step in outcome.recipe)
    notes = [
        f"Recipe: {recipe}. The steps before retraining took {run.chosen.repair_s:.1f} s for these "
        f"chips{_repaired_once(run)}; retraining amounts are counted after them."
    ]
    if outcome.blocks:
        blocks = ", ".join(f"{name} ({count})" for name, count in outcome.blocks.items())
        notes.append(
            "Repair is approximate where a layer has too many inputs for one Gram matrix: each "
            f"block of inputs compensates its own errors. Layers (blocks): {blocks}."
        )
    if "remap" in steps:
        compared = any(s.name == NoRemap.name for s in run.strategies)
        notes.append(
            "Remapping needs address generation only: a model's weights are loaded into other "
            "columns and its results read from there; the placement is in the model's file."
            + ("" if compared else " compare=[no_remap] shows the recipe on other hardware.")
        )
    if "remap" in steps and outcome.remap == "rows_and_columns":
        notes.append(
            "Rows are remapped too, which needs more: each layer's inputs are streamed into the "
            "rows in an order of the model's own, and zeros into rows that are left empty."
        )
    return notes


def _repaired_once(run: RunResult) -> str:
    """Say what was done once per network for the repair, if anything was."""
    seconds = {
        "Gram matrices": run.outcome.calibration_s,
        "repair in the analysis": run.outcome.analysis_repair_s,
    }
    done = [what for what, value in seconds.items() if value]
    if not done:
        return ""
    return f", and {sum(seconds.values()):.1f} s once per network ({' and '.join(done)})"


def top_up_sentences(run: RunResult) -> list[str]:
    """Say which groups were trained for longer than planned, and which fail all the same."""
    if "top_up" not in run.outcome.recipe:
        return []
    chosen, epoch = run.chosen, run.amounts.steps_per_epoch
    longer = [
        f"{row.group}: planned {row.amount_steps / epoch:.2f}, trained "
        f"{(row.trained_steps or 0) / epoch:.2f}"
        for row in run.groups
        if row.topped_up and row.amount_steps is not None
    ]
    named = f" ({some_names(longer)} epochs)" if longer else ""
    failing = f" Fail at the end of the budget: {some_names(chosen.failing_groups)}."
    none = "" if chosen.kept_groups else " None fails on validation."
    return [
        "Each model was measured on validation after its amount, "
        f"{pluralise(chosen.retraining.evaluations, 'evaluation')} in all; "
        f"{chosen.topped_up} of {pluralise(chosen.models, 'group')} failed and were trained "
        f"further, for {chosen.topped_up_steps / epoch:.2f} epochs together{named}."
        + (failing if chosen.failing_groups else none)
    ]


def until_met_sentences(run: RunResult) -> list[str]:
    """Say what was done to each chip, and which fail all the same."""
    chosen, sustained = run.chosen, run.settings.sustained
    at_once = sum(not chip.trained_steps and chip.pass_val for chip in run.chips)
    kept = len(chosen.kept_groups)  # trained, but they carry the weights from before
    trained = sum(bool(chip.trained_steps) for chip in run.chips) + kept
    how = "as it was repaired" if repair_steps(run) else "as it was masked"
    ended = ", its training diverged" if kept else ""
    budget = f"{ended} or the budget was spent: {budget_note(run)}" if run.budget_epochs else ""
    often = f"met the constraint {sustained} evaluations in a row" if sustained > 1 else "did"
    rest = f"{trained} were trained, each until it {often}{budget}"
    first = f"{at_once} of {len(run.chips)} met the constraint at once, " if sustained == 1 else ""
    rest = rest if trained else "none was trained"
    failing = some_names(run.members_of(chosen.failing_groups))
    none = "" if kept else " None fails on validation."
    return [
        f"Each chip was measured on validation {how}, "
        f"{pluralise(chosen.retraining.evaluations, 'evaluation')} in all: {first}{rest}."
        + (f" Fail at the end: {failing}." if failing else none)
    ]


def hardening_sentences(run: RunResult) -> list[str]:
    """Say what hardening cost, and what it left of the metric without faults."""
    cost, after, before = run.outcome.hardening, run.outcome.hardened, run.outcome.baseline
    if cost is None or after is None:
        return []
    show = run.metric.show
    return [
        f"The network was hardened first, once: {cost.epochs:.1f} epochs, {cost.elapsed_s:.0f} s. "
        f"Without faults it has {show(after.val)} on validation "
        f"({kept_note(run.metric, before.val, after.val)}) and {show(after.test)} on test "
        f"({kept_note(run.metric, before.test, after.test)}). The constraint is relative to the "
        "baseline from before."
    ]


def diverged_sentences(run: RunResult) -> list[str]:
    """Say which trainings diverged, and what their chips carry."""
    chosen, notes = run.chosen, []
    if chosen.diverged:
        count = pluralise(chosen.diverged, "training")
        notes.append(f"{count} diverged; those chips keep the masked baseline.")
    if kept := chosen.kept_groups:
        named = run.members_of(kept) if run.until_met else kept
        notes.append(diverged_note(named, planned=not run.until_met))
    return notes


def budget_note(run: RunResult) -> str:
    """Say what the budget consists of: it ends at an evaluation."""
    budget, every = run.amounts.budget_steps, run.amounts.eval_every_steps
    epochs = every / run.amounts.steps_per_epoch
    intervals = pluralise(budget // every, "evaluation interval")
    unit = "epoch" if epochs == 1 else "epochs"
    return f"{intervals} of {epochs:.2g} {unit} ({pluralise(every, 'step')})"
