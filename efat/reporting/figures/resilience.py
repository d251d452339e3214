"""The figures of a campaign, drawn from its results; each function returns a matplotlib Figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from efat.campaign import Analysis, Experiment, Outcome
from efat.hardware import Fleet
from efat.planning import Plan
from efat.reporting.figures.map_line import ABOVE, map_line
from efat.reporting.figures.style import BLUE, GREEN, GREY, ORANGE
from efat.resilience import ACCURACY, IN_WORDS, Metric, ResilienceCurve, ResilienceMap, Severity

Point = tuple[float, float]
"""Severity and amount (steps; inf: more than the budget)."""

FAULTY = ListedColormap(["#eef2f5", "#22303c"])


def plot_curves(
    curves: Sequence[ResilienceCurve],
    steps_per_epoch: int,
    target: float,
    metric: Metric = ACCURACY,
) -> Figure:
    """Draw the metric against amount, one panel a fault rate: mean, and range over the repeats."""
    rates = sorted({curve.fault_rate for curve in curves})
    cols = min(5, len(rates))
    rows = -(-len(rates) // cols)
    figure = Figure(figsize=(max(5.0, 2.4 * cols), 2.3 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, cols, sharex=True, sharey=True, squeeze=False)
    for axes in panels.ravel()[len(rates) :]:
        axes.set_axis_off()
    for axes, rate in zip(panels.ravel(), rates, strict=False):
        repeats = [curve for curve in curves if curve.fault_rate == rate]
        _draw_curves(axes, repeats, steps_per_epoch, target, metric)
    for axes in panels.ravel()[: len(rates)][-cols:]:  # also where the panel below is empty
        axes.tick_params(labelbottom=True)
    if metric == ACCURACY:
        panels[0, 0].set_ylim(100 * max(0.0, target - 0.1), min(100.5, 100 * target + 3))
    figure.supxlabel("amount of retraining (epochs)", fontsize=10)
    figure.supylabel(f"validation {metric.label}", fontsize=10)
    what = "mean and range over fault maps; " if len(curves) > 1 else ""
    if at_once := [c for c in curves if len(c.metric) == 1 and metric.meets(c.metric[0], target)]:
        what = f"{len(at_once)} of {len(curves)} end at amount 0 (dots): met without retraining; "
    figure.suptitle(f"Resilience curves: {what}dashed: {metric.show(target, 1)}", fontsize=11)
    return figure


def _draw_curves(
    axes: Axes,
    repeats: Sequence[ResilienceCurve],
    steps_per_epoch: int,
    target: float,
    metric: Metric,
) -> None:
    """Draw the curves of one fault rate; what is below the panel is said in words."""
    unit = 100 if metric.is_share else 1
    if len({*(curve.amount_steps for curve in repeats)}) == 1 < len(repeats[0].amount_steps):
        _draw_band(axes, repeats, steps_per_epoch, unit)
    else:  # curves that end where they meet the constraint
        for curve in repeats:
            epochs = np.array(curve.amount_steps) / steps_per_epoch
            values = unit * np.array(curve.metric)
            axes.plot(epochs, values, color=BLUE, lw=0.8, marker="o", ms=2)
            axes.plot(epochs[-1:], values[-1:], color=BLUE, marker="o", ms=4)
    axes.axhline(unit * target, color=ORANGE, lw=1, ls="--")
    axes.set_title(f"{repeats[0].fault_rate:.0%} of the PEs faulty", fontsize=9)
    axes.text(
        0.96,
        0.06,
        f"starts at {metric.show(float(np.mean([c.metric[0] for c in repeats])), 0)}",
        transform=axes.transAxes,
        ha="right",
        fontsize=8,
        color=GREY,
    )
    axes.grid(alpha=0.25)


def _draw_band(
    axes: Axes, repeats: Sequence[ResilienceCurve], steps_per_epoch: int, unit: int
) -> None:
    """Draw mean and range of curves of equal length."""
    epochs = np.array(repeats[0].amount_steps) / steps_per_epoch
    values = np.array([curve.metric for curve in repeats])  # NaN after a divergence: a gap
    axes.fill_between(
        epochs, unit * values.min(axis=0), unit * values.max(axis=0), color=BLUE, alpha=0.2, lw=0
    )
    axes.plot(epochs, unit * values.mean(axis=0), color=BLUE, lw=1.6)


def plot_resilience_map(
    experiment: Experiment, analysis: Analysis, severity: Severity, plan: Plan | None = None
) -> Figure:
    """Draw the resilience map, the crossings it was read from, the chips and fused groups on it."""
    resilience_map = analysis.resilience_map
    epoch = experiment.amounts.steps_per_epoch
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    target, sustained = resilience_map.target, experiment.selection.sustained
    crossings = [(c.severity, c.crossing(target, sustained)) for c in analysis.curves]
    _mark(axes, crossings, epoch, label="one fault map", s=14, color=GREY, alpha=0.6)
    _mark_beyond(axes, crossings, experiment, "fault maps, not met within the budget", GREY)
    line = map_line(resilience_map, epoch)
    axes.plot(*line, color=BLUE, lw=2, label="resilience map")  # type: ignore[arg-type]
    _mark_limit(axes, resilience_map)
    _mark_chips(axes, experiment, resilience_map, severity, plan)
    measure = IN_WORDS[experiment.severity_name]
    axes.set_xlabel(f"severity: share of {measure}")
    axes.set_ylabel("amount of retraining (epochs)")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # what is at 0 is seen whole
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    axes.set_title(f"Retraining needed to reach {experiment.metric.show(target, 1)} on validation")
    return figure


def _mark_limit(axes: Axes, resilience_map: ResilienceMap) -> None:
    """Shade what is beyond the budget."""
    right = max(resilience_map.severities)
    if resilience_map.max_severity < right:
        axes.axvspan(
            resilience_map.max_severity,
            right,
            color=ORANGE,
            alpha=0.12,
            lw=0,
            label="beyond the resilience map",
        )


def _mark_chips(
    axes: Axes,
    experiment: Experiment,
    resilience_map: ResilienceMap,
    severity: Severity,
    plan: Plan | None,
) -> None:
    epoch = experiment.amounts.steps_per_epoch
    severities = [severity(chip.fault_map) for chip in experiment.fleet]
    chips = [(s, resilience_map.amount(s)) for s in severities]
    inside = sum(amount < math.inf for _, amount in chips)
    planned = plan is None or not plan.until_met
    label = f"a chip ({inside} of {len(chips)} are {'salvageable' if planned else 'within it'})"
    _mark(axes, chips, epoch, label=label, marker="|", s=90, color=GREEN, zorder=3)
    lost = "unsalvageable" if planned else "beyond the map"
    _mark_beyond(axes, chips, experiment, f"chips, {lost}", GREEN)
    fused = [
        (severity(group.fused), group.amount_steps)
        for group in (plan.groups if plan else ())
        if len(group.members) > 1
    ]
    if fused:
        ring = {"s": 46, "facecolors": "none", "edgecolors": ORANGE, "lw": 1.4, "zorder": 4}
        _mark(axes, fused, epoch, label=f"a group of chips, fused ({len(fused)})", **ring)
        _mark_beyond(axes, fused, experiment, "groups, beyond the map", ORANGE)


def _mark(axes: Axes, points: Sequence[Point], epoch: float, **style: Any) -> None:
    """Mark what meets the constraint within the budget."""
    met = [(severity, steps / epoch) for severity, steps in points if steps < math.inf]
    if met:
        axes.scatter(*zip(*met, strict=True), **style)


def _mark_beyond(
    axes: Axes, points: Sequence[Point], experiment: Experiment, name: str, color: str
) -> None:
    """Mark what does not, above the budget: how much it would need is not known."""
    lost = [severity for severity, steps in points if steps == math.inf]
    amounts = experiment.amounts
    height = ABOVE * (amounts.budget_steps / amounts.steps_per_epoch or 1)
    if lost:
        axes.scatter(
            lost,
            [height] * len(lost),
            marker="^",
            s=30,
            facecolors="none",
            edgecolors=color,
            label=f"{name} ({len(lost)})",
            zorder=4,
        )


def plot_strategies(outcome: Outcome, chips: int) -> Figure:
    """Draw the cost of every strategy, with and without the analysis, and the chips it serves."""
    results = outcome.strategies
    figure = Figure(figsize=(8.5, 0.55 * len(results) + 1.7), layout="constrained")
    axes = figure.subplots()
    names = [result.name for result in results]
    retraining = np.array([result.retraining.epochs for result in results])
    analysis = np.array([outcome.once_epochs(result) for result in results])
    axes.barh(names, retraining, color=BLUE, label="retraining")
    once = ["analysis"] * bool(outcome.analysis) + ["hardening"] * bool(outcome.hardening)
    if once:
        axes.barh(
            names,
            analysis,
            left=retraining,
            color="none",
            edgecolor=GREY,
            hatch="///",
            label=f"{' and '.join(once)} (once a network)",
        )
    for row, result in enumerate(results):
        axes.annotate(
            f"{result.retraining.epochs:.1f} epochs; {result.met_test} of {chips} chips meet it",
            (retraining[row] + analysis[row], row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    axes.invert_yaxis()
    axes.set_xlim(0, 1.75 * ((retraining + analysis).max() or 1.0))
    axes.set_xlabel("epochs of training, all chips together")
    axes.set_title("Cost of each strategy, and chips that meet the constraint on test", pad=26)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8.5, frameon=False)
    return figure


def plot_fault_maps(fleet: Fleet, plan: Plan, groups: int = 3, members: int = 4) -> Figure:
    """Draw some chips' fault maps and, in the last column, what fusing their group gives."""
    maps = {chip.chip_id: chip.fault_map for chip in fleet}
    shown = sorted(plan.groups, key=lambda group: -len(group.members))[:groups]
    rows, cols = max(1, len(shown)), min(members, max((len(g.members) for g in shown), default=1))
    figure = Figure(figsize=(2.1 * (cols + 1), 2.35 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, cols + 1, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for line, group in zip(grid, shown, strict=False):
        for axes, name in zip(line, group.members[:cols], strict=False):
            _draw_map(axes, maps[name].faulty, f"{name}\n{maps[name].fault_rate:.1%} faulty")
        more = len(group.members) - cols
        note = f" (and {more} more)" if more > 0 else ""
        title = f"fused{note}\n{group.fused.fault_rate:.1%} faulty"
        _draw_map(line[-1], group.fused.faulty, title, ORANGE)
    figure.suptitle("Fault maps of some groups; dark: faulty PE", fontsize=11)
    return figure


def _draw_map(axes: Axes, faulty: np.ndarray, title: str, color: str = "black") -> None:
    axes.set_axis_on()
    axes.imshow(faulty, cmap=FAULTY, vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=8.5, color=color)
