"""Sentences and rows about a finished run: made once, printed by terminal, page and Markdown."""

from __future__ import annotations

from efat.campaign.outcome import StrategyResult
from efat.campaign.run_result import RunResult
from efat.io import pluralise
from efat.planning import EarlyStopping, NoRemap
from efat.reporting.advice import next_steps
from efat.reporting.recipe_sentences import (
    budget_note,
    diverged_sentences,
    hardening_sentences,
    repair_sentences,
    repair_steps,
    some_names,
    top_up_sentences,
    until_met_sentences,
)
from efat.resilience import verification_note


def headline(run: RunResult) -> str:
    """Say the result in one sentence."""
    chosen, metric = run.chosen, run.metric
    bound = "at least" if metric.higher_is_better else "at most"
    return (
        f"{chosen.pass_test} of {len(run.chips)} chips pass on test ({metric.name} {bound} "
        f"{metric.show(run.outcome.targets.test)}), for {_models(run, chosen)} and "
        f"{_retraining(run, chosen)}."
    )


def summary(run: RunResult) -> list[str]:
    """Say what a reader should know before looking at a figure."""
    trained = until_met_sentences(run) if run.until_met else top_up_sentences(run)
    compared = [line for other in run.strategies[1:] if (line := _against(run, other))]
    advice = next_steps(run)
    return [
        *hardening_sentences(run),
        *repair_sentences(run),
        _independent(run),
        *trained,
        _change(run),
        *compared,
        *_analysis(run),
        *_certified(run),
        *_failing(run),
        *diverged_sentences(run),
        *([advice] if advice else []),
        *_gap(run),
    ]


def strategy_rows(run: RunResult) -> list[dict[str, str | int | float | None]]:
    """Return one row per strategy: what it cost and reached, as numbers."""
    return [
        {
            "strategy": s.label,
            "models": s.models,
            "epochs": s.retraining.epochs,
            "epochs_incl_analysis": s.retraining.epochs + run.outcome.once_epochs(s),
            "evaluations": s.retraining.evaluations,
            "pass_val": s.pass_val,
            "pass_test": s.pass_test,
            "certified": s.certified,
            "mean_test": s.mean_test,
            "worst_test": s.worst_test,
        }
        for s in run.strategies
    ]


def gap_note(gap: float) -> str:
    """Say how much a better plan could save at most."""
    return "optimal: no plan costs less" if gap < 0.0005 else f"optimality gap <= {gap:.1%}"


def _models(run: RunResult, strategy: StrategyResult) -> str:
    """Count the models of a strategy; where each is a retraining, call it one."""
    return pluralise(strategy.models, "retraining" if _retrains_each(run, strategy) else "model")


def _retrains_each(run: RunResult, strategy: StrategyResult) -> bool:
    """Return whether every model was trained: not where repair or the first evaluation sufficed."""
    evaluated_first = strategy.models and not strategy.needs_analysis
    return not (repair_steps(run) or evaluated_first or not strategy.retraining.epochs)


def _retraining(run: RunResult, strategy: StrategyResult) -> str:
    """Say how much was retrained, which may be nothing."""
    epochs = strategy.retraining.epochs
    if not epochs:
        return "no retraining"
    return f"{epochs:.1f} epochs{'' if _retrains_each(run, strategy) else ' of retraining'}"


def _independent(run: RunResult) -> str:
    """Say which split decides, and how many of the results are independent."""
    chosen, chips = run.chosen, len(run.chips)
    carried, independent = "Chips of one group carry the same model, so", chosen.models
    if run.until_met:  # the training depends only on the fault map
        independent = len({chip.fault_map.key for chip in run.maps})
        equal = "" if independent == chips else ", the same where fault maps are"
        carried = f"Each chip carries a model of its own{equal}:"
    return (
        f"Decisions are made on validation, where {chosen.pass_val} of {chips} chips pass. "
        f"{carried} these are {independent} independent results, from one seed."
    )


def _change(run: RunResult) -> str:
    """Say what retraining did to the chips."""
    before = [chip.test_before for chip in run.chips]
    mean, worst = sum(before) / len(before), run.metric.worst(before)
    passed = sum(run.metric.meets(value, run.outcome.targets.test) for value in before)
    show, chosen = run.metric.show, run.chosen
    return (
        f"Test {run.metric.name} went from {show(mean)} on average ({show(worst)} on the worst "
        f"chip; {passed} chips passed as they were) to {show(chosen.mean_test)} "
        f"({show(chosen.worst_test)}). The fault-free network has "
        f"{show(run.outcome.baseline.test)}."
    )


def _against(run: RunResult, other: StrategyResult) -> str | None:
    """Compare the cost with that of another strategy; None for one that has no models."""
    ours, theirs = run.chosen.retraining.epochs, other.retraining.epochs
    if not other.models or not (theirs or repair_steps(run)):
        return None
    if other.name == NoRemap.name and "remap" in repair_steps(run):
        return _without_remap(run, other)
    against = (
        f"Against {other.label} ({_models(run, other)}, {_retraining(run, other)}, "
        f"{other.pass_test} chips pass on test): "
    )
    if not theirs:
        fewer = other.models - run.chosen.models
        compared = f"{abs(fewer)} {'fewer' if fewer >= 0 else 'more'}"
        stored = f"{against}{pluralise(run.chosen.models, 'model')} to store, {compared}"
        return f"{stored}{_spared(run, other)}."
    if not other.needs_analysis:
        times = run.spent_epochs / (theirs + run.outcome.once_epochs(other))
        return (
            f"{against}it needs no analysis, while {run.chosen.label} takes "
            f"{run.spent_epochs:.1f} epochs incl. analysis, {times:.1f} times as many."
        )
    saved = 1 - ours / theirs
    if saved <= -1:
        return f"{against}{ours / theirs:.1f} times the retraining{_spared(run, other)}."
    more = f"{abs(saved):.0%} {'less' if saved >= 0 else 'more'}"
    return f"{against}{more} retraining{_spared(run, other)}."


def _without_remap(run: RunResult, other: StrategyResult) -> str:
    """Compare with hardware that cannot remap; only remapping sets it apart from `early_stop`."""
    sentence = (
        f"Without remapping ({other.label}: {_models(run, other)}, one per chip, "
        f"{_retraining(run, other)}): {other.pass_val} chips pass on validation, "
        f"{other.pass_test} on test"
    )
    same = next((s for s in run.strategies if s.name == EarlyStopping.name), None)
    if same is None:
        return f"{sentence}."
    cost = f"{same.label}: {_retraining(run, same)}"
    return f"{sentence}; with it ({cost}) {same.pass_val} and {same.pass_test}."


def _spared(run: RunResult, other: StrategyResult) -> str:
    """Say what another strategy's analysis costs where the one carried out does without."""
    if not run.until_met or not other.needs_analysis:
        return ""
    return (
        f"; {other.label} also needs the analysis, {run.analysis_epochs:.1f} epochs, which "
        f"{run.chosen.label} does not need"
    )


def _analysis(run: RunResult) -> list[str]:
    """Say what the analysis cost, and what doing without it would, if anything was trained."""
    if run.map is None:
        return ["No resilience analysis was run: no strategy here needs one."]
    analysis = f"The resilience analysis took {run.analysis_epochs:.1f} epochs"
    if run.until_met:
        return [f"{analysis}, which {run.chosen.label} does not use."]
    if not run.budget_epochs:
        return []
    together, hardening = run.spent_epochs, run.hardening_epochs
    hardened = f", {hardening:.1f} of them hardening" if hardening else ""
    blind = run.budget_epochs * len(run.chips)
    cheaper = "less" if together < blind else "more"
    return [
        f"{analysis}, once per network: {together:.1f} in all{hardened}, {cheaper} than retraining "
        f"every chip for the whole budget without an analysis ({len(run.chips)} x "
        f"{run.budget_epochs:.1f} = {blind:.1f}). The budget is {budget_note(run)}."
    ]


def _certified(run: RunResult) -> list[str]:
    """Say how many chips are certified, and what that means."""
    outcome, chosen = run.outcome, run.chosen
    note = verification_note(outcome.confidence, outcome.test_samples, outcome.needed, run.metric)
    if chosen.certified is None:
        return [note]
    passing, failing = chosen.pass_test - chosen.certified, len(run.chips) - chosen.pass_test
    masked = sum(not chip.salvageable and not chip.pass_test for chip in run.chips)
    untrained = f" ({masked} of them beyond the resilience map)" if masked else ""
    return [
        f"On test {chosen.certified} chips are certified, {passing} pass and {failing} "
        f"fail{untrained}; the test set is used only for this final evaluation. "
        f"{note[0].upper()}{note[1:]} Pass: the accuracy meets it, but not the whole interval. The "
        "interval holds for each chip alone, not for all at once, and ignores that the baseline "
        "is itself measured."
    ]


def _failing(run: RunResult) -> list[str]:
    """Name the chips that fail, and those beyond the resilience map."""
    unsalvageable, undecided = run.outcome.unsalvageable, run.outcome.undecided
    failing = [chip for chip in run.chosen.failing if chip not in unsalvageable]
    notes = [f"Fail on test: {some_names(failing)}."] if failing else []
    beyond = [chip for chip in unsalvageable if chip not in undecided]
    for names, why in (
        (beyond, "Unsalvageable, since no amount within the budget is known for them"),
        (undecided, "Undecided, since fault_rates.max_cost ended the analysis"),
    ):
        if names:
            notes.append(f"{why}: {some_names(names)}.")
    if not unsalvageable and not run.until_met:
        notes.append("No chip is unsalvageable.")
    return notes


def _gap(run: RunResult) -> list[str]:
    """Say how far the plan may be from the cheapest one."""
    if run.plan.gap is None or not run.plan.groups:
        return []
    return [f"Cost of this plan: {gap_note(run.plan.gap)}, for the same resilience map and rules."]
