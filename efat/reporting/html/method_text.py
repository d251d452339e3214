"""What was done to the networks before they were measured, in words."""

from __future__ import annotations

from itertools import pairwise

from omegaconf import OmegaConf

from efat.campaign import diverged_note
from efat.io import pluralise
from efat.planning import NoRemap
from efat.reporting.html.run_reader import FinishedRun
from efat.resilience import kept_note
from efat.training import REPAIR_STEPS

NAMED = 12
"""Chips named in a sentence; further ones are counted, and marked in the table."""


def repair_steps(run: FinishedRun) -> list[str]:
    """Return the steps before retraining."""
    return [step for step in run.summary.get("recipe", ()) if step in REPAIR_STEPS]


def repair_sentences(run: FinishedRun) -> list[str]:
    """Say what is done before retraining, what it took, and what it asks of the hardware."""
    steps, summary = repair_steps(run), run.summary
    if not steps:
        return []
    mode = {"compensate": f"compensate ({summary.get('mode', 'one_shot')})"}
    recipe = ", ".join(mode.get(step, step) for step in summary["recipe"])
    found = [
        f"Recipe: {recipe}. The steps before retraining took "
        f"{run.chosen['repair_s']:.1f} s for these chips{_repaired_once(run)}; amounts of "
        "retraining are counted after them."
    ]
    if summary.get("blocks"):
        cut = ", ".join(f"{name} ({count})" for name, count in summary["blocks"].items())
        found.append(
            f"Repair is approximate where a layer has too many inputs for one Gram matrix: each "
            f"block of inputs makes up for its own losses. Layers (blocks): {cut}."
        )
    if "remap" in steps:
        found.append(
            "Remapping asks for address generation only: a model's weights are loaded into other "
            "columns and its results read from there; the placement is in the model's file."
            + _no_remap(run)
        )
    if "remap" in steps and summary.get("remap") == "rows_and_columns":
        found.append(
            "Rows are remapped too, which asks for more: each layer's inputs are streamed into the "
            "rows in an order of the model's own, and zeros into rows that are left empty."
        )
    return found


def _no_remap(run: FinishedRun) -> str:
    """Say how to count hardware that cannot remap, where it is not among the strategies."""
    if any(row["name"] == NoRemap.name for row in run.summary["strategies"]):
        return ""
    return " For hardware that cannot do it, compare=[no_remap] counts the same recipe without."


def _repaired_once(run: FinishedRun) -> str:
    """Say what was done once a network for the repair, if anything was."""
    named = {"calibration_s": "calibration", "analysis_repair_s": "repair in the analysis"}
    done = {what: run.summary[key] for key, what in named.items() if run.summary[key]}
    if not done:
        return ""
    return f", and {sum(done.values()):.1f} s once a network ({', and '.join(done)})"


def top_up_sentences(run: FinishedRun) -> list[str]:
    """Say which groups were trained for longer than planned, and which are short all the same."""
    if "top_up" not in run.summary.get("recipe", ()):
        return []
    chosen, epoch = run.chosen, run.steps_per_epoch
    longer = [
        f"{row['group']}: planned {row['amount_steps'] / epoch:.2f}, trained "
        f"{row['trained_steps'] / epoch:.2f}"
        for row in run.groups
        if row.get("topped_up") and row["amount_steps"] is not None
    ]
    named = f" ({some_names(longer)} epochs)" if longer else ""
    short = chosen["short_groups"]
    return [
        f"Each model was measured on validation after its amount, "
        f"{pluralise(chosen['retraining']['evaluations'], 'evaluation')} in all; "
        f"{chosen['topped_up']} of {pluralise(chosen['models'], 'group')} fell short there and "
        f"went on, for {chosen['topped_up_steps'] / epoch:.2f} epochs together{named}. "
        + (
            f"Short at the end of the budget: {some_names(short)}."
            if short
            else ("" if chosen.get("kept_groups") else "None is short on validation.")
        )
    ]


def until_met_sentences(run: FinishedRun) -> list[str]:
    """Say what was done to each chip, and which are short all the same."""
    chosen, looked = run.chosen, run.chosen["retraining"]["evaluations"]
    at_once = sum(not row["trained_steps"] and bool(row["met_val"]) for row in run.chips)
    diverged = chosen.get("kept_groups", [])  # trained, but they carry what they began with
    trained = sum(bool(row["trained_steps"]) for row in run.chips) + len(diverged)
    short = members_of(run, chosen["short_groups"])
    how = "as it was repaired" if repair_steps(run) else "as it was masked"
    lost = ", its training diverged" if diverged else ""
    budget = f"{lost} or the budget was spent: {budget_told(run)}" if run.budget_epochs else ""
    sustained = in_a_row(run)
    often = f"met the constraint {sustained} evaluations in a row" if sustained > 1 else "did"
    rest = f"{trained} were trained on, each until it {often}{budget}"
    rest = rest if trained else "none was trained"
    met = f"{at_once} of {len(run.chips)} met the constraint at once, " if sustained == 1 else ""
    none = "" if diverged else " None is short on validation."
    return [
        f"Each chip was measured on validation {how}, {pluralise(looked, 'evaluation')} in all: "
        f"{met}{rest}." + (f" Short at the end: {some_names(short)}." if short else none)
    ]


def in_a_row(run: FinishedRun) -> int:
    """Return how many evaluations in a row have to meet the constraint; one does not tell."""
    return int(OmegaConf.select(OmegaConf.create(run.config), "selection.sustained") or 1)


def members_of(run: FinishedRun, groups: list[str]) -> list[str]:
    """Return the chips of each group, as they are written."""
    members = {row["group"]: row["members"] for row in run.groups}
    return [members[group] for group in groups]


def hardening_sentences(run: FinishedRun) -> list[str]:
    """Say what hardening cost, and what it left of the metric without faults."""
    cost = run.summary.get("hardening")
    if not cost:
        return []
    before, after, show = run.summary["baseline"], run.summary["hardened"], run.metric.show
    return [
        f"The network was hardened first, once: {cost['epochs']:.1f} epochs, "
        f"{cost['elapsed_s']:.0f} s. Without faults it has {show(after['val'])} on validation "
        f"({kept_note(run.metric, before['val'], after['val'])}) and {show(after['test'])} on test "
        f"({kept_note(run.metric, before['test'], after['test'])}). The constraint is relative to "
        "the baseline from before."
    ]


def budget_told(run: FinishedRun) -> str:
    """Say how the budget comes about: it ends where a metric was recorded."""
    budget = round(run.budget_epochs * run.steps_per_epoch)
    steps = sorted({int(row["amount_steps"]) for row in run.curves})
    every = run.eval_every_steps or min((b - a for a, b in pairwise(steps)), default=budget)
    epochs = every / run.steps_per_epoch
    intervals = pluralise(budget // every, "evaluation interval")
    unit = "epoch" if epochs == 1 else "epochs"
    return f"{intervals} of {epochs:.2g} {unit} ({pluralise(every, 'step')})"


def some_names(chips: list[str]) -> str:
    """Write names; from `NAMED` on they are counted."""
    more = len(chips) - NAMED
    return ", ".join(chips[:NAMED]) + (f" and {more} more" if more > 0 else "")


def diverged_sentences(run: FinishedRun) -> list[str]:
    """Say which trainings diverged, and what their chips carry."""
    chosen, found = run.chosen, []
    if chosen["diverged"]:
        count = pluralise(chosen["diverged"], "training")
        found.append(f"{count} diverged; those chips keep the masked baseline.")
    if kept := chosen.get("kept_groups"):
        named = members_of(run, kept) if run.until_met else kept
        found.append(diverged_note(named, planned=not run.until_met))
    return found
