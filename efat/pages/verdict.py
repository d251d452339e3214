"""What a run found, in words."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from omegaconf import OmegaConf

from efat.advice import Settings, next_steps
from efat.findings import diverged_note
from efat.metric import kept_note
from efat.pages.finished import FinishedRun
from efat.progress import counted
from efat.recipe import TRAINING
from efat.verification import verification_note

NAMED = 12
"""Chips named in a sentence; further ones are counted, and marked in the table."""


def headline(run: FinishedRun) -> str:
    """Say the result in one sentence."""
    chosen, chips = run.chosen, len(run.chips)
    target = run.metric.show(run.summary["targets"]["test"])
    return (
        f"{chosen['met_test']} of {chips} chips meet the constraint on test ({run.metric.name} "
        f"{_at_least(run)} {target}), for {_models(run, chosen)} and "
        f"{_retraining(run, chosen)}."
    )


def sentences(run: FinishedRun) -> list[str]:
    """Say what a reader should know before looking at a figure."""
    trained = _until_met(run) if run.until_met else _top_up(run)
    found = [*_hardened(run), *_recipe(run), _split(run), *trained, _change(run)]
    found += [line for other in run.summary["strategies"][1:] if (line := _against(run, other))]
    found += [*_analysis(run), *_verified(run), *_lost(run), *_diverged(run), *_next(run)]
    return [*found, *_bound(run)]


def _at_least(run: FinishedRun) -> str:
    return "at least" if run.metric.higher_is_better else "at most"


def _models(run: FinishedRun, strategy: dict[str, Any]) -> str:
    """Count the models of a strategy; where each is a retraining, call it one."""
    return counted(strategy["models"], "retraining" if _retrains_each(run, strategy) else "model")


def _retrains_each(run: FinishedRun, strategy: dict[str, Any]) -> bool:
    """Tell whether every model was trained: not where repair or a first look may do."""
    looks_first = strategy["models"] and not strategy.get("needs_analysis", True)
    return not (_repairs(run) or looks_first or not strategy["retraining"]["epochs"])


def _retraining(run: FinishedRun, strategy: dict[str, Any]) -> str:
    """Say how much was retrained, which may be nothing."""
    epochs = strategy["retraining"]["epochs"]
    if not epochs:
        return "no retraining"
    return f"{epochs:.1f} epochs{'' if _retrains_each(run, strategy) else ' of retraining'}"


def _repairs(run: FinishedRun) -> list[str]:
    """Return the steps before retraining."""
    return [step for step in run.summary.get("recipe", ()) if step not in TRAINING]


def _recipe(run: FinishedRun) -> list[str]:
    """Say what is done before retraining, what it took, and what it asks of the hardware."""
    steps, summary = _repairs(run), run.summary
    if not steps:
        return []
    found = [
        f"Recipe: {', '.join(summary['recipe'])}. The steps before retraining took "
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
        )
    if "remap" in steps and summary.get("remap") == "rows_and_columns":
        found.append(
            "Rows are remapped too, which asks for more: each layer's inputs are streamed into the "
            "rows in an order of the model's own, and zeros into rows that are left empty."
        )
    return found


def _repaired_once(run: FinishedRun) -> str:
    """Say what was done once a network for the repair, if anything was."""
    named = {"calibration_s": "calibration", "analysis_repair_s": "repair in the analysis"}
    done = {what: run.summary[key] for key, what in named.items() if run.summary[key]}
    if not done:
        return ""
    return f", and {sum(done.values()):.1f} s once a network ({', and '.join(done)})"


def _top_up(run: FinishedRun) -> list[str]:
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
    named = f" ({_names(longer)} epochs)" if longer else ""
    short = chosen["short_groups"]
    return [
        f"Each model was measured on validation after its amount, "
        f"{counted(chosen['retraining']['evaluations'], 'evaluation')} in all; "
        f"{chosen['topped_up']} of {counted(chosen['models'], 'group')} fell short there and went "
        f"on, for {chosen['topped_up_steps'] / epoch:.2f} epochs together{named}. "
        + (
            f"Short at the end of the budget: {_names(short)}."
            if short
            else ("" if chosen.get("kept_groups") else "None is short on validation.")
        )
    ]


def _until_met(run: FinishedRun) -> list[str]:
    """Say what was done to each chip, and which are short all the same."""
    chosen, looked = run.chosen, run.chosen["retraining"]["evaluations"]
    at_once = sum(not row["trained_steps"] and bool(row["met_val"]) for row in run.chips)
    diverged = chosen.get("kept_groups", [])  # trained, but they carry what they began with
    trained = sum(bool(row["trained_steps"]) for row in run.chips) + len(diverged)
    short = _members(run, chosen["short_groups"])
    how = "as it was repaired" if _repairs(run) else "as it was masked"
    lost = ", its training diverged" if diverged else ""
    budget = f"{lost} or the budget was spent: {_intervals(run)}" if run.budget_epochs else ""
    sustained = _sustained(run)
    often = f"met the constraint {sustained} evaluations in a row" if sustained > 1 else "did"
    rest = f"{trained} were trained on, each until it {often}{budget}"
    rest = rest if trained else "none was trained"
    met = f"{at_once} of {len(run.chips)} met the constraint at once, " if sustained == 1 else ""
    none = "" if diverged else " None is short on validation."
    return [
        f"Each chip was measured on validation {how}, {counted(looked, 'evaluation')} in all: "
        f"{met}{rest}." + (f" Short at the end: {_names(short)}." if short else none)
    ]


def _sustained(run: FinishedRun) -> int:
    """Return how many evaluations in a row have to meet the constraint; one does not tell."""
    return int(OmegaConf.select(OmegaConf.create(run.config), "selection.sustained") or 1)


def _members(run: FinishedRun, groups: list[str]) -> list[str]:
    members = {row["group"]: row["members"] for row in run.groups}
    return [members[group] for group in groups]


def _hardened(run: FinishedRun) -> list[str]:
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


def _split(run: FinishedRun) -> str:
    """Say where it was decided, and how many of the results are independent."""
    chosen, chips = run.chosen, len(run.chips)
    carried, independent = "Chips of one group carry the same model, so", chosen["models"]
    if run.until_met:  # what is trained hangs on the map alone
        independent = len({chip.fault_map.key for chip in run.maps})
        equal = "" if independent == chips else ", the same where fault maps are"
        carried = f"Each chip carries a model of its own{equal}:"
    return (
        f"Decisions are made on validation, where {chosen['met_val']} of {chips} chips meet it. "
        f"{carried} these are {independent} independent results, from one seed."
    )


def _change(run: FinishedRun) -> str:
    """Say what retraining did to the chips."""
    before = [row["test_before"] for row in run.chips]
    mean, worst = sum(before) / len(before), run.metric.worst(before)
    met = sum(run.metric.meets(value, run.summary["targets"]["test"]) for value in before)
    show, chosen = run.metric.show, run.chosen
    return (
        f"Test {run.metric.name} went from {show(mean)} on average ({show(worst)} on the worst "
        f"chip; {met} chips met the constraint as they were) to {show(chosen['mean_test'])} "
        f"({show(chosen['worst_test'])}). The fault-free network has "
        f"{show(run.summary['baseline']['test'])}."
    )


def _against(run: FinishedRun, other: dict[str, Any]) -> str | None:
    """Compare the cost with that of another strategy; None for one that has no models."""
    ours, theirs = run.chosen["retraining"]["epochs"], other["retraining"]["epochs"]
    if not other["models"] or not (theirs or _repairs(run)):
        return None
    against = (
        f"Against {other['name']} ({_models(run, other)}, {_retraining(run, other)}, "
        f"{other['met_test']} chips meet it on test): "
    )
    if not theirs:
        fewer = other["models"] - run.chosen["models"]
        compared = f"{abs(fewer)} {'fewer' if fewer >= 0 else 'more'}"
        stored = f"{against}{counted(run.chosen['models'], 'model')} to store, {compared}"
        return f"{stored}{_spared(run, other)}."
    if not other.get("needs_analysis", True):
        times = run.spent_epochs / (theirs + run.once_epochs(other))
        return (
            f"{against}it needs no analysis, while {run.chosen['name']} takes "
            f"{run.spent_epochs:.1f} epochs with its analysis, {times:.1f} times as many."
        )
    saved = 1 - ours / theirs
    if saved <= -1:
        return f"{against}{ours / theirs:.1f} times the retraining{_spared(run, other)}."
    more = f"{abs(saved):.0%} {'less' if saved >= 0 else 'more'}"
    return f"{against}{more} retraining{_spared(run, other)}."


def _spared(run: FinishedRun, other: dict[str, Any]) -> str:
    """Say what another strategy's analysis costs where the one carried out does without."""
    if not run.until_met or not other.get("needs_analysis", True):
        return ""
    analysis = f"{run.analysis_epochs:.1f} epochs"
    return f"; it also takes the analysis, {analysis}, which {run.chosen['name']} does not need"


def _analysis(run: FinishedRun) -> list[str]:
    """Say what the analysis cost, and what doing without it would, if anything was trained."""
    if not run.analysed:
        return ["No resilience analysis was run: no strategy here needs one."]
    analysis = run.analysis_epochs
    if run.until_met:
        return [
            f"The resilience analysis took {analysis:.1f} epochs, of which {run.chosen['name']} "
            "makes no use."
        ]
    if not run.budget_epochs:
        return []
    together, hardening = run.spent_epochs, run.hardening_epochs
    hardened = f", {hardening:.1f} of them hardening" if hardening else ""
    blind = run.budget_epochs * len(run.chips)
    cheaper = "less" if together < blind else "more"
    return [
        f"The resilience analysis, done once a network, cost {analysis:.1f} epochs more: "
        f"{together:.1f} in all{hardened}, {cheaper} than retraining every chip for the whole "
        f"budget without any analysis ({len(run.chips)} x {run.budget_epochs:.1f} = {blind:.1f}). "
        f"The budget is {_intervals(run)}."
    ]


def _verified(run: FinishedRun) -> list[str]:
    """Say how many chips are verified, and what that means."""
    summary, chosen = run.summary, run.chosen
    if "confidence" not in summary:  # a run of an earlier version
        return []
    samples, needed = summary["test_samples"], summary["needed"]
    note = verification_note(summary["confidence"], samples, needed, run.metric)
    if chosen["verified"] is None:
        return [note]
    met, short = chosen["met_test"] - chosen["verified"], len(run.chips) - chosen["met_test"]
    return [
        f"On test {chosen['verified']} chips are verified, {met} met and {short} short; the test "
        "split was only measured on, and no decision hangs on it. "
        f"{note[0].upper()}{note[1:]} Met: its accuracy is, but not the whole interval. The "
        "interval holds for each chip alone, not for all at once, and ignores that the baseline "
        "is itself measured."
    ]


def _intervals(run: FinishedRun) -> str:
    """Say how the budget comes about: it ends where a metric was recorded."""
    budget = round(run.budget_epochs * run.steps_per_epoch)
    steps = sorted({int(row["amount_steps"]) for row in run.curves})
    every = run.eval_every_steps or min((b - a for a, b in pairwise(steps)), default=budget)
    epochs = every / run.steps_per_epoch
    intervals = counted(budget // every, "evaluation interval")
    unit = "epoch" if epochs == 1 else "epochs"
    return f"{intervals} of {epochs:.2g} {unit} ({counted(every, 'step')})"


def _lost(run: FinishedRun) -> list[str]:
    """Name the chips that fall short, and those that nothing repairs."""
    unsalvageable = run.summary["unsalvageable"]
    short = [chip for chip in run.chosen["short"] if chip not in unsalvageable]
    found = []
    if short:
        found.append(f"Short of the constraint on test: {_names(short)}.")
    if unsalvageable:
        found.append(
            f"Unsalvageable, since no amount within the budget repairs them: "
            f"{_names(unsalvageable)}."
        )
    elif not run.until_met:
        found.append("No chip is unsalvageable.")
    return found


def _names(chips: list[str]) -> str:
    more = len(chips) - NAMED
    return ", ".join(chips[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _bound(run: FinishedRun) -> list[str]:
    """Say how far the plan may be from the best one."""
    gap = run.plan["gap"]
    if run.until_met or not run.plan["groups"]:
        return []
    if gap < 0.0005:
        return ["No cheaper plan exists under the same resilience map and rules: that is proved."]
    return [
        f"What a better plan could save: at most {_percent(gap)} of the price of this one, as is "
        "proved for the same resilience map and rules."
    ]


def _percent(share: float) -> str:
    """Write a share of a price, small ones too."""
    return f"{share:.1%}" if share < 0.01 else f"{share:.0%}"


def _diverged(run: FinishedRun) -> list[str]:
    """Say which trainings diverged, and what their chips carry."""
    chosen, found = run.chosen, []
    if chosen["diverged"]:
        count = counted(chosen["diverged"], "training")
        found.append(f"{count} diverged; those chips keep the masked baseline.")
    if kept := chosen.get("kept_groups"):
        named = _members(run, kept) if run.until_met else kept
        found.append(diverged_note(named, planned=not run.until_met))
    return found


def _next(run: FinishedRun) -> list[str]:
    """Say what a user can do where chips fall short."""
    cfg = OmegaConf.create(run.config)
    every = OmegaConf.select(cfg, "training.eval_every_epochs")
    limit = OmegaConf.select(cfg, "selection.limit")
    settings = Settings(
        tuple(run.summary.get("recipe", ("retrain",))),
        _sustained(run),
        round(run.budget_epochs / every) + 1,  # curves may end before
        "selection.max_drop" if limit is None else "selection.limit",
        OmegaConf.select(cfg, "array.dataflow") == "ws",
        run.until_met,
        tuple(run.chosen.get("kept_groups", ())),
    )
    advice = next_steps(run.chips, settings)
    return [advice] if advice else []
