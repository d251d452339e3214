"""The table of results as it is printed, and what has to be said under it."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from efat.campaign import Experiment, Outcome, StrategyResult, diverged_note, unsalvageable_note
from efat.planning import info_of
from efat.reporting.advice import Settings, next_steps
from efat.resilience import Metric, verification_note
from efat.training import REPAIR_STEPS

COLUMNS = (
    "models",
    "epochs",
    "+an.",
    "samples",
    "seconds",
    "+an.",
    "met\nval",
    "met\ntest",
    "ver.\ntest",
    "mean\n%",
    "worst\n%",
)


def describe_outcome(experiment: Experiment, outcome: Outcome) -> RenderableType:
    """Lay out cost and result of every strategy in 80 columns; the chosen planner comes first."""
    chips, array, metric = len(outcome.chips), experiment.array, experiment.metric
    title = (
        f"\n{experiment.name}: {chips} chips, {array.rows}x{array.cols} array; "
        f"test {metric.name}: baseline {metric.show(outcome.baseline.test)}, "
        f"asked {metric.show(outcome.targets.test)}\n"
    )
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("strategy")
    for name in COLUMNS:
        heading = name if metric.is_share else name.removesuffix("\n%")
        heading = "and\nonce" if name == "+an." and outcome.analysis is None else heading
        table.add_column(heading, justify="right")
    for result in outcome.strategies:
        table.add_row(result.name, *_cells(result, outcome, metric))
    return Group(title, table, _footnotes(experiment, outcome))


def _cells(result: StrategyResult, outcome: Outcome, metric: Metric) -> tuple[str, ...]:
    cost, chips = result.retraining, len(outcome.chips)
    return (
        f"{result.models}{'*' if result.beyond_map else ''}",
        f"{cost.epochs:.1f}",
        f"{cost.epochs + outcome.once_epochs(result):.1f}",
        f"{cost.samples:,}",
        f"{cost.elapsed_s + result.repair_s:.0f}",
        f"{cost.elapsed_s + result.repair_s + outcome.once_s(result):.0f}",
        f"{result.met_val}/{chips}",
        f"{result.met_test}/{chips}",
        "-" if result.verified is None else str(result.verified),
        metric.show(result.mean_test).rstrip("%"),
        metric.show(result.worst_test).rstrip("%"),
    )


def _footnotes(experiment: Experiment, outcome: Outcome) -> str:
    metric = experiment.metric
    beyond = [f"{r.name} {r.beyond_map} of {r.models}" for r in outcome.strategies if r.beyond_map]
    notes = (
        f"\nRetraining of all chips together; {_once_note(outcome)}{_hardening_note(outcome)}. "
        f"Seconds are of the training jobs{_repair_note(outcome)}, over all processes. met: chips "
        f"that meet the constraint; mean, worst: test {metric.name} over all chips."
        f"\n{'ver., ' if metric.proportion else ''}"
        f"{verification_note(outcome.confidence, outcome.test_samples, outcome.needed, metric)}"
    )
    notes += _evaluation_note(outcome, experiment.amounts.steps_per_epoch)
    if lost := unsalvageable_note(outcome.unsalvageable, outcome.undecided):
        notes += f"\n{lost[0].upper()}{lost[1:]}"
    if beyond:
        notes += f"\n* beyond the resilience map, so retrained for the budget: {', '.join(beyond)}"
    if any(r.diverged for r in outcome.strategies):
        lost = ", ".join(
            f"{r.name} {r.diverged} of {r.models}" for r in outcome.strategies if r.diverged
        )
        notes += f"\ntrainings that diverged, whose chips carry the masked baseline: {lost}"
    settings = _settings(experiment, outcome)
    if kept := settings.kept_groups:
        chips_kept = [row["chip_id"] for row in outcome.chips if row["group"] in kept]
        named = chips_kept if settings.until_met else kept
        notes += f"\n{diverged_note(named, planned=not settings.until_met)}"
    advice = next_steps(outcome.chips, settings)
    return notes + (f"\nNext: {advice}" if advice else "")


def _once_note(outcome: Outcome) -> str:
    """Say what the columns beside the retraining add."""
    cost = outcome.analysis
    if cost is None:
        measured = f" (calibration, {outcome.calibration_s:.0f} s)" * bool(outcome.calibration_s)
        return (
            "no resilience analysis was needed; 'and once' adds what is done once a network"
            f"{measured}"
        )
    analysis_s = outcome.calibration_s + outcome.analysis_repair_s + cost.elapsed_s
    return (
        "+an. adds the resilience analysis, done once a network: "
        f"{cost.epochs:.1f} epochs, {cost.samples:,} samples, {analysis_s:.0f} s"
    )


def _settings(experiment: Experiment, outcome: Outcome) -> Settings:
    amounts, constraint = experiment.amounts, experiment.selection.constraint
    return Settings(
        experiment.recipe.steps,
        experiment.selection.sustained,
        amounts.budget_steps // amounts.eval_every_steps + 1,
        "selection.max_drop" if constraint.limit is None else "selection.limit",
        experiment.array.dataflow == "ws",
        not info_of(experiment.planner).needs_map,
        outcome.strategies[0].kept_groups,
        len(outcome.undecided),
    )


def _hardening_note(outcome: Outcome) -> str:
    """Say what hardening cost, if the network was hardened."""
    cost = outcome.hardening
    if cost is None:
        return ""
    return (
        f"; and hardening, once too: {cost.epochs:.1f} epochs, {cost.samples:,} samples, "
        f"{cost.elapsed_s:.0f} s"
    )


def _evaluation_note(outcome: Outcome, steps_per_epoch: float) -> str:
    """Count evaluations during trainings, and what was trained beyond the plan, if any was."""
    looked = [r for r in outcome.strategies if r.retraining.evaluations]
    if not looked:
        return ""
    counts = ", ".join(f"{r.name} {r.retraining.evaluations}" for r in looked)
    analysis = f"; analysis {outcome.analysis.evaluations}" if outcome.analysis else ""
    note = f"\nEvaluations during the trainings, on validation: {counts}{analysis}."
    planned = [r for r in looked if r.needs_analysis]
    if "top_up" in outcome.recipe and planned:
        longer = ", ".join(
            f"{r.name} {r.topped_up} of {r.models} "
            f"({r.topped_up_steps / steps_per_epoch:.2f} epochs)"
            for r in planned
        )
        note += f"\nTopped up, beyond the plan: {longer}."
    short = [r for r in looked if r.short_groups]
    if short:
        note += "\nShort on validation at the end of the budget: " + ", ".join(
            f"{r.name} {len(r.short_groups)} of {r.models}" for r in short
        )
    return note


def _repair_note(outcome: Outcome) -> str:
    """Say what of the seconds is repair."""
    repair_s = outcome.strategies[0].repair_s
    if not [step for step in outcome.recipe if step in REPAIR_STEPS]:
        return ""
    once_s = outcome.calibration_s + outcome.analysis_repair_s
    once = f", {once_s:.1f} s once a network" if once_s else ""
    return (
        f" and of the repair before them ({repair_s:.1f} s for {outcome.strategies[0].name}{once})"
    )
