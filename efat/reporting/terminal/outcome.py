"""Print the table of results, and the notes under it."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from efat.campaign import Outcome, StrategyResult, unsalvageable_note
from efat.campaign.run_result import RunResult
from efat.reporting.advice import next_steps
from efat.reporting.recipe_sentences import diverged_sentences, repair_steps
from efat.resilience import verification_note

COLUMNS = (
    "models",
    "epochs",
    "incl.\nanaly-\nsis",
    "seconds",
    "incl.\nanaly-\nsis",
    "pass\nval.",
    "pass\ntest",
    "certi-\nfied",
    "mean\n%",
    "worst\n%",
)


def describe_outcome(run: RunResult) -> RenderableType:
    """Lay out cost and result of every strategy in 80 columns; the chosen planner comes first."""
    outcome, array, metric = run.outcome, run.settings.array, run.metric
    title = (
        f"\n{run.name}: {len(run.chips)} chips, {array.rows}x{array.cols} array; "
        f"test {metric.name}: baseline {metric.show(outcome.baseline.test)}, "
        f"target {metric.show(outcome.targets.test)}\n"
    )
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("strategy")
    for name in COLUMNS:
        heading = name if metric.is_share else name.removesuffix("\n%")
        if outcome.analysis is None:
            heading = heading.replace("analy-\nsis", "once")
        table.add_column(heading, justify="right")
    for result in run.strategies:
        table.add_row(result.label, *_cells(run, result))
    return Group(title, table, _footnotes(run))


def _cells(run: RunResult, result: StrategyResult) -> tuple[str, ...]:
    cost, chips, outcome = result.retraining, len(run.chips), run.outcome
    return (
        f"{result.models}{'*' if result.beyond_map else ''}",
        f"{cost.epochs:.1f}",
        f"{cost.epochs + outcome.once_epochs(result):.1f}",
        f"{cost.elapsed_s + result.repair_s:.0f}",
        f"{cost.elapsed_s + result.repair_s + outcome.once_s(result):.0f}",
        f"{result.pass_val}/{chips}",
        f"{result.pass_test}/{chips}",
        "-" if result.certified is None else str(result.certified),
        run.metric.show(result.mean_test).rstrip("%"),
        run.metric.show(result.worst_test).rstrip("%"),
    )


def _footnotes(run: RunResult) -> str:
    outcome, metric = run.outcome, run.metric
    beyond = [f"{r.label} {r.beyond_map} of {r.models}" for r in run.strategies if r.beyond_map]
    diverged = [f"{r.label} {r.diverged} of {r.models}" for r in run.strategies if r.diverged]
    notes = (
        f"\nRetraining of all chips together; {_once_note(outcome)}{_hardening_note(outcome)}. "
        f"Seconds are of the training jobs{_repair_note(run)}, over all processes. pass: chips "
        f"that meet the constraint; mean, worst: test {metric.name} over all chips."
        f"\n{verification_note(outcome.confidence, outcome.test_samples, outcome.needed, metric)}"
    )
    notes += _evaluation_note(outcome, run.amounts.steps_per_epoch)
    if note := unsalvageable_note(outcome.unsalvageable, outcome.undecided):
        notes += f"\n{note[0].upper()}{note[1:]}"
    if beyond:
        notes += f"\n* beyond the resilience map, so retrained for the budget: {', '.join(beyond)}"
    if diverged:
        notes += (
            f"\ntrainings that diverged, whose chips carry the masked baseline: "
            f"{', '.join(diverged)}"
        )
    if run.chosen.kept_groups:
        notes += f"\n{diverged_sentences(run)[-1]}"
    advice = next_steps(run)
    return notes + (f"\nNext: {advice}" if advice else "")


def _once_note(outcome: Outcome) -> str:
    """Explain the columns that add what is spent once per network."""
    cost = outcome.analysis
    if cost is None:
        measured = f" (Gram matrices, {outcome.calibration_s:.0f} s)" * bool(outcome.calibration_s)
        return (
            f"no resilience analysis was needed; incl. once adds what is done once per network"
            f"{measured}"
        )
    analysis_s = outcome.calibration_s + outcome.analysis_repair_s + cost.elapsed_s
    return (
        "incl. analysis adds the resilience analysis, done once per network: "
        f"{cost.epochs:.1f} epochs, {cost.samples:,} samples, {analysis_s:.0f} s"
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
    evaluated = [r for r in outcome.strategies if r.retraining.evaluations]
    if not evaluated:
        return ""
    counts = ", ".join(f"{r.label} {r.retraining.evaluations}" for r in evaluated)
    analysis = f"; analysis {outcome.analysis.evaluations}" if outcome.analysis else ""
    note = f"\nEvaluations during the trainings, on validation: {counts}{analysis}."
    planned = [r for r in evaluated if r.needs_analysis]
    if "top_up" in outcome.recipe and planned:
        longer = ", ".join(
            f"{r.label} {r.topped_up} of {r.models} "
            f"({r.topped_up_steps / steps_per_epoch:.2f} epochs)"
            for r in planned
        )
        note += f"\nTopped up, beyond the plan: {longer}."
    failing = [r for r in evaluated if r.failing_groups]
    if failing:
        note += "\nFail on validation at the end of the budget: " + ", ".join(
            f"{r.label} {len(r.failing_groups)} of {r.models}" for r in failing
        )
    return note


def _repair_note(run: RunResult) -> str:
    """Say how many of the seconds are repair."""
    if not repair_steps(run):
        return ""
    once_s = run.outcome.calibration_s + run.outcome.analysis_repair_s
    once = f", {once_s:.1f} s once per network" if once_s else ""
    repair_s, name = run.chosen.repair_s, run.chosen.label
    return f" and of the repair before them ({repair_s:.1f} s for {name}{once})"
