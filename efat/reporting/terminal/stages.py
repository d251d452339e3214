"""Print problems, one line per stage, and the list of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table

from efat.campaign import (
    Analysis,
    Baseline,
    Experiment,
    Single,
    TrainedModel,
    diverged_note,
    unsalvageable_note,
)
from efat.campaign.tables import GroupResult
from efat.errors import EfatError
from efat.hardware.fleets import FleetSummary
from efat.io import pluralise
from efat.planning import Plan
from efat.reporting.sentences import gap_note
from efat.resilience import ACCURACY, IN_WORDS, kept_note

GROUPS_SHOWN = 8
"""Rows on the terminal; the files hold all."""

FILES = {
    "config.yaml": "the composed configuration",
    "curves.csv": "accuracy against amount, one row per point",
    "resilience_map.json": "amount against severity for the constraint",
    "plan.json": "groups, amounts, unsalvageable chips",
    "groups.csv": "one row per group: chips, amount, what it saves",
    "assignment.csv": "one row per chip: its model, what was done (also .json)",
    "library.json": "the models, for stage=assign to add to",
    "fleet.npz": "fault maps of the chips (fused_maps.npz: of groups)",
    "fleet.json": "counts, rates and overlap of the fleet",
    "models": "one checkpoint per group (safetensors)",
    "chips.csv": "one row per chip",
    "summary.json": "costs and results of every strategy",
    "units.csv": "one row per unit of work, with its log",
    "layers.csv": "share of each layer that is pruned",
    "provenance.json": "command, versions, seed, hashes",
    "figures": "PNG figures, and SVG and PDF for papers",
    "report.html": "all of it on one page, for a browser (report.md: as text)",
}


def open_console(stderr: bool = False) -> Console:
    """Return a console that prints `recipe.steps=[retrain]` or `a:on:b` as it is."""
    return Console(stderr=stderr, markup=False, emoji=False)


def print_problems(error: EfatError) -> None:
    """Print every problem on standard error, one line each."""
    console = open_console(stderr=True)
    for problem in error.problems:
        console.print(f"error: {problem}", highlight=False, soft_wrap=True)


def describe_data(experiment: Experiment) -> str | None:
    """Say which images were left out, if any were."""
    skipped = experiment.skipped
    if not skipped:
        return None
    shown = "\n           ".join(skipped[:5]) + ("\n           ..." if len(skipped) > 5 else "")
    return f"data       {len(skipped)} images skipped: {shown}"


def describe_baseline(experiment: Experiment, baseline: Baseline) -> str:
    """Say what the baseline reaches and what is asked of the chips."""
    metric, file = experiment.metric, experiment.checkpoint
    target = experiment.selection.constraint.target(baseline.val_metric)
    name = "" if metric == ACCURACY else f"{metric.name} "
    bound = "at least" if metric.higher_is_better else "at most"
    return (
        f"baseline   {name}{metric.show(baseline.val_metric)} on validation"
        f"{f' ({Path(file.path).name})' if file else ''}; target: {bound} {metric.show(target)}"
    )


def describe_hardened(experiment: Experiment, baseline: Baseline) -> str | None:
    """Say what hardening cost the network in its metric without faults, and in seconds."""
    hardened, metric = baseline.hardened, experiment.metric
    if hardened is None:
        return None
    return (
        f"hardened   {metric.show(hardened.val_metric)} on validation without faults, "
        f"{kept_note(metric, baseline.val_metric, hardened.val_metric)}; "
        f"{hardened.steps / experiment.amounts.steps_per_epoch:.1f} epochs, "
        f"{hardened.elapsed_s:.1f} s"
    )


def describe_recipe(experiment: Experiment, baseline: Baseline) -> str | None:
    """Say what is done beside plain retraining, if anything is, and what measuring took."""
    recipe, measured = experiment.recipe, baseline.grams
    if not (recipe.repairs or recipe.gradual):
        return None
    chosen = {"remap": recipe.remap.replace("_", " "), "compensate": recipe.mode}
    steps = [f"{step} ({chosen[step]})" if step in chosen else step for step in recipe.steps]
    line = f"recipe     {', '.join(steps)}"
    if recipe.gradual:
        parts, epochs = recipe.gradual.inject_parts, recipe.gradual.inject_every_epochs
        line += f"; faults injected in {parts} parts, {epochs:g} epochs apart"
    if measured:
        line += f"; Gram matrices of {measured.samples} samples, {measured.elapsed_s:.1f} s"
    if measured and measured.blocks:
        cut = ", ".join(f"{name} in {count}" for name, count in measured.blocks.items())
        line += f"; approximate, in blocks of inputs: {cut}"
    return line


def describe_diverged(analysis: Analysis) -> str | None:
    """Name the curves whose training diverged, if any did."""
    names = [
        f"rate {curve.fault_rate:g} repeat {curve.repeat}"
        for curve in analysis.curves
        if curve.diverged
    ]
    if not names:
        return None
    return (
        f"diverged   {len(names)} of {len(analysis.curves)} curves end early, since their loss was "
        f"no longer finite: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}; use a lower "
        "learning rate (training.optimizer.lr)"
    )


def describe_map(experiment: Experiment, analysis: Analysis) -> str:
    """Say how far the resilience map reaches."""
    resilience_map = analysis.resilience_map
    measured, rates = {c.fault_rate for c in analysis.curves}, len(experiment.fault_rates)
    count = f"{len(analysis.curves)} curves"
    count += f" at {len(measured)} of {rates} fault rates" if len(measured) < rates else ""
    which = "the fault rates"
    if analysis.cut_short:
        count += "; fault_rates.max_cost ended the search, the map is read off "
        count += pluralise(len(analysis.fault_rates), "fault rate")
        which = "these"
    if resilience_map.max_severity == 0:
        return f"analysis   {count}; none of {which} reaches it within the budget"
    worst = resilience_map.amount(resilience_map.max_severity)
    return (
        f"analysis   {count}; the map reaches {resilience_map.max_severity:.0%} "
        f"{IN_WORDS[experiment.severity_name]} and requires at most "
        f"{worst / experiment.amounts.steps_per_epoch:.2f} epochs of retraining"
    )


def describe_no_map(experiment: Experiment) -> str:
    """Say that nothing was analysed, and why."""
    return f"analysis   none: {experiment.planner_name} needs no resilience map"


def describe_plan(experiment: Experiment, plan: Plan, undecided: Sequence[str] = ()) -> str:
    """Say what the plan asks for; chips beyond the resilience map by name."""
    line = (
        f"plan       {experiment.planner_name}: {len(experiment.fleet)} chips, "
        f"{pluralise(len(plan.groups), 'group')}, "
    )
    if plan.until_met:
        return f"{line}each until it meets the constraint"
    line += f"{plan.total_steps / experiment.amounts.steps_per_epoch:.1f} epochs in total"
    if plan.bound:
        line += f"; {gap_note(plan.gap)}"
    shared = any(len(group.members) > 1 for group in plan.groups)
    note = unsalvageable_note(plan.unsalvageable, undecided)
    return line + off_ws_note(experiment, shared) + (f"; {note}" if note else "")


def describe_groups(experiment: Experiment, rows: Sequence[GroupResult]) -> RenderableType:
    """Lay out the most expensive groups."""
    groups = [row for row in rows if row.group != "unsalvageable"]
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for name in ("group", "chips", "fused rate", "epochs", "saved", "members"):
        table.add_column(name, justify="left" if name in ("group", "members") else "right")
    for row in groups[:GROUPS_SHOWN]:
        steps, saved = row.amount_steps, row.share_saved
        table.add_row(
            row.group,
            str(row.chips),
            f"{row.fused_rate:.1%}",
            "budget" if steps is None else f"{steps / experiment.amounts.steps_per_epoch:.2f}",
            "-" if saved is None else f"{saved:.0%}",
            _few(row.members.split(";")),
        )
    left_out = len(groups) - GROUPS_SHOWN
    more = f"and {left_out} more in groups.csv\n" if left_out > 0 else ""
    return Group("", table, more) if groups else ""


def _few(names: Sequence[str]) -> str:
    """Name the first chips and count the rest."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def off_ws_note(experiment: Experiment, shared: bool) -> str:
    """Say where a model that chips share is not exact on them."""
    if experiment.array.dataflow == "ws" or not shared:
        return ""
    return "; only on ws arrays does a group's model give the same outputs on every member"


def describe_until_met(experiment: Experiment, models: Sequence[TrainedModel]) -> str:
    """Say how many chips met the constraint at once, and which do not at the end of the budget."""
    at_once = sum(bool(m.met) and not m.carried_steps for m in models)
    trained = [m.trained_steps for m in models if m.trained_steps]
    ended = [m for m in models if m.kept_steps is None]  # at the constraint or at the budget
    failing = [name for m in ended if not m.met for name in m.group.members]
    how = "as repaired" if experiment.recipe.repairs else "as masked"
    line = f"on validation {at_once} of {pluralise(len(models), 'chip')} met the constraint {how}, "
    line = line if experiment.selection.sustained == 1 else ""  # one look does not tell
    epochs = sum(trained) / experiment.amounts.steps_per_epoch
    line += f"{len(trained)} were trained, {epochs:.1f} epochs together"
    line += f"; fail at the end of the budget: {_few(failing)}" if failing else ""
    kept = [name for m in models if m.kept_steps is not None for name in m.group.members]
    return f"retrain    {line}" + (f". {diverged_note(kept, planned=False)}" if kept else "")


def describe_top_up(experiment: Experiment, models: Mapping[str, TrainedModel]) -> str | None:
    """Say which groups were trained for longer than planned, and which fail all the same."""
    if not experiment.recipe.tops_up:
        return None
    epoch = experiment.amounts.steps_per_epoch
    longer = [
        f"{name} planned {m.group.amount_steps / epoch:.2f}, trained {m.carried_steps / epoch:.2f}"
        for name, m in models.items()
        if m.topped_up
    ]
    failing = [n for n, m in models.items() if m.met is False and m.kept_steps is None]
    kept = [name for name, model in models.items() if model.kept_steps is not None]
    line = f"top_up     {len(longer)} of {pluralise(len(models), 'group')} were trained further"
    if longer:
        more = "; ..." if len(longer) > GROUPS_SHOWN else ""
        line += f", in epochs: {'; '.join(longer[:GROUPS_SHOWN])}{more}"
    line += f"; fail at the end of the budget: {_few(failing)}" if failing else ""
    return line + (f". {diverged_note(kept)}" if kept else "")


def describe_fleet(summary: FleetSummary) -> Table:
    """Lay out the figures of a fleet."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for what, value in summary.table():
        table.add_row(what, value)
    return table


def describe_single(experiment: Experiment, single: Single, target: float) -> str:
    """Say what retraining did to one chip."""
    chip, curve, evaluation = single.chip, single.curve, single.evaluation
    after = evaluation.after["single"][chip.chip_id]
    before = evaluation.before[chip.chip_id]
    steps = curve.crossing(target) / experiment.amounts.steps_per_epoch
    crossed = (
        f"first met after {steps:.2f} epochs"
        if curve.crossing(target) < float("inf")
        else "not met"
    )
    epochs = experiment.amounts.budget_steps / experiment.amounts.steps_per_epoch
    show = experiment.metric.show
    return (
        f"{chip.chip_id}      {chip.fault_map.fault_rate:.1%} of the PEs faulty\n"
        f"before     {show(before.val)} on validation, {show(before.test)} on test\n"
        f"after      {show(after.val)} on validation, {show(after.test)} on test "
        f"({epochs:.2f} epochs; constraint {crossed})"
    )


def print_end(
    console: Console, computed: Mapping[str, int], folder: Path, elapsed_s: float
) -> None:
    """Say how long it took, what was computed and where everything is."""
    units = ", ".join(f"{stage} {count}" for stage, count in computed.items())
    console.print(f"\n{elapsed_s:.0f} s; units computed: {units or 'none'}", highlight=False)
    console.print(f"results in {folder}", highlight=False, soft_wrap=True)
    for name, what in FILES.items():
        if (folder / name).exists():
            console.print(f"  {name:<20} {what}", highlight=False)
