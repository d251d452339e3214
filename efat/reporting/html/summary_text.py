"""What a run found, in words."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from efat.io import pluralise
from efat.planning import EarlyStopping, NoRemap
from efat.reporting.advice import Settings, next_steps
from efat.reporting.html.method_text import (
    budget_told,
    diverged_sentences,
    hardening_sentences,
    in_a_row,
    repair_sentences,
    repair_steps,
    some_names,
    top_up_sentences,
    until_met_sentences,
)
from efat.reporting.html.run_reader import FinishedRun
from efat.resilience import verification_note


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
    trained = until_met_sentences(run) if run.until_met else top_up_sentences(run)
    found = [*hardening_sentences(run), *repair_sentences(run), _split(run), *trained, _change(run)]
    found += [line for other in run.summary["strategies"][1:] if (line := _against(run, other))]
    found += [*_analysis(run), *_verified(run), *_lost(run), *diverged_sentences(run), *_next(run)]
    return [*found, *_bound(run)]


def _at_least(run: FinishedRun) -> str:
    return "at least" if run.metric.higher_is_better else "at most"


def _models(run: FinishedRun, strategy: dict[str, Any]) -> str:
    """Count the models of a strategy; where each is a retraining, call it one."""
    return pluralise(strategy["models"], "retraining" if _retrains_each(run, strategy) else "model")


def _retrains_each(run: FinishedRun, strategy: dict[str, Any]) -> bool:
    """Tell whether every model was trained: not where repair or a first look may do."""
    looks_first = strategy["models"] and not strategy.get("needs_analysis", True)
    return not (repair_steps(run) or looks_first or not strategy["retraining"]["epochs"])


def _retraining(run: FinishedRun, strategy: dict[str, Any]) -> str:
    """Say how much was retrained, which may be nothing."""
    epochs = strategy["retraining"]["epochs"]
    if not epochs:
        return "no retraining"
    return f"{epochs:.1f} epochs{'' if _retrains_each(run, strategy) else ' of retraining'}"


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
    if not other["models"] or not (theirs or repair_steps(run)):
        return None
    if other["name"] == NoRemap.name and "remap" in repair_steps(run):
        return _without_remap(run, other)
    against = (
        f"Against {other['name']} ({_models(run, other)}, {_retraining(run, other)}, "
        f"{other['met_test']} chips meet it on test): "
    )
    if not theirs:
        fewer = other["models"] - run.chosen["models"]
        compared = f"{abs(fewer)} {'fewer' if fewer >= 0 else 'more'}"
        stored = f"{against}{pluralise(run.chosen['models'], 'model')} to store, {compared}"
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


def _without_remap(run: FinishedRun, other: dict[str, Any]) -> str:
    """Say what other hardware comes to; what differs by remapping alone is `early_stop`."""
    found = (
        f"Without remapping ({other['name']}: {_models(run, other)}, one a chip, "
        f"{_retraining(run, other)}): {other['met_val']} chips meet it on validation, "
        f"{other['met_test']} on test"
    )
    named = {s["name"]: s for s in run.summary["strategies"]}
    if not (same := named.get(EarlyStopping.name)):
        return f"{found}."
    told = f"{same['name']}: {_retraining(run, same)}"
    return f"{found}; with it ({told}) {same['met_val']} and {same['met_test']}."


def _spared(run: FinishedRun, other: dict[str, Any]) -> str:
    """Say what another strategy's analysis costs where the one carried out does without."""
    if not run.until_met or not other.get("needs_analysis", True):
        return ""
    analysis = f"{run.analysis_epochs:.1f} epochs"
    return (
        f"; {other['name']} also takes the analysis, {analysis}, which {run.chosen['name']} does "
        "not need"
    )


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
        f"The budget is {budget_told(run)}."
    ]


def _verified(run: FinishedRun) -> list[str]:
    """Say how many chips are certified, and what that means."""
    summary, chosen = run.summary, run.chosen
    if "confidence" not in summary:  # a run of an earlier version
        return []
    samples, needed = summary["test_samples"], summary["needed"]
    note = verification_note(summary["confidence"], samples, needed, run.metric)
    if chosen["verified"] is None:
        return [note]
    met, short = chosen["met_test"] - chosen["verified"], len(run.chips) - chosen["met_test"]
    masked = sum(not row["salvageable"] and not row["met_test"] for row in run.chips)
    untrained = f" ({masked} of them beyond the resilience map)" if masked else ""
    return [
        f"On test {chosen['verified']} chips are certified, {met} pass and {short} fail{untrained}"
        "; the test split was only measured on, and no decision hangs on it. "
        f"{note[0].upper()}{note[1:]} Pass: its accuracy is, but not the whole interval. The "
        "interval holds for each chip alone, not for all at once, and ignores that the baseline "
        "is itself measured."
    ]


def _lost(run: FinishedRun) -> list[str]:
    """Name the chips that fall short, and those beyond the resilience map."""
    unsalvageable = run.summary["unsalvageable"]
    short = [chip for chip in run.chosen["short"] if chip not in unsalvageable]
    found = []
    if short:
        found.append(f"Short of the constraint on test: {some_names(short)}.")
    undecided = run.summary.get("undecided", [])
    lost = [chip for chip in unsalvageable if chip not in undecided]
    for names, why in (
        (lost, "Unsalvageable, since no amount within the budget is known for them"),
        (undecided, "Undecided, since fault_rates.max_cost ended the analysis"),
    ):
        if names:
            found.append(f"{why}: {some_names(names)}.")
    if not unsalvageable and not run.until_met:
        found.append("No chip is unsalvageable.")
    return found


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


def _next(run: FinishedRun) -> list[str]:
    """Say what a user can do where chips fall short."""
    cfg = OmegaConf.create(run.config)
    every = OmegaConf.select(cfg, "training.eval_every_epochs")
    limit = OmegaConf.select(cfg, "selection.limit")
    settings = Settings(
        tuple(run.summary.get("recipe", ("retrain",))),
        in_a_row(run),
        round(run.budget_epochs / every) + 1,  # curves may end before
        "selection.max_drop" if limit is None else "selection.limit",
        OmegaConf.select(cfg, "array.dataflow") == "ws",
        run.until_met,
        tuple(run.chosen.get("kept_groups", ())),
        len(run.summary.get("undecided", ())),
    )
    advice = next_steps(run.chips, settings)
    return [advice] if advice else []
