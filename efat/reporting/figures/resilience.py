"""The figures of a campaign, drawn from its results; each function returns a matplotlib Figure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from efat.campaign import Analysis, Experiment, Outcome
from efat.hardware import Fleet
from efat.planning import Plan
from efat.reporting.figures.series import (
    MapSeries,
    Point,
    band,
    cost_series,
    map_series,
)
from efat.reporting.figures.style import BLUE, GREEN, GREY, ORANGE
from efat.resilience import ACCURACY, IN_WORDS, Metric, ResilienceCurve, ResilienceMap, Severity

MOST_LINES = 5
"""Amounts that are drawn, 0 and the last among them."""

FAULTY = ListedColormap(["#eef2f5", "#22303c"])


def plot_curves(
    curves: Sequence[ResilienceCurve],
    steps_per_epoch: int,
    target: float,
    metric: Metric = ACCURACY,
) -> Figure:
    """Draw the metric against amount, one panel per fault rate: mean and range of the repeats."""
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
    """Draw the curves of one fault rate; a text says what is below the panel."""
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
    drawn = band(repeats, steps_per_epoch, unit)
    axes.fill_between(drawn.epochs, drawn.low, drawn.high, color=BLUE, alpha=0.2, lw=0)
    axes.plot(drawn.epochs, drawn.mean, color=BLUE, lw=1.6)


def plot_resilience_map(
    experiment: Experiment, analysis: Analysis, severity: Severity, plan: Plan | None = None
) -> Figure:
    """Draw the resilience map, the crossings it was read from, the chips and fused groups on it."""
    resilience_map, amounts = analysis.resilience_map, experiment.amounts
    target, sustained = resilience_map.target, experiment.selection.sustained
    fused = [g for g in (plan.groups if plan else ()) if len(g.members) > 1]
    series = map_series(
        resilience_map,
        [(curve.severity, curve.crossing(target, sustained)) for curve in analysis.curves],
        [(chip.chip_id, severity(chip.fault_map)) for chip in experiment.fleet],
        [("", severity(group.fused), group.amount_steps) for group in fused],
        amounts.steps_per_epoch,
        amounts.budget_steps,
    )
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    _mark(axes, series.crossings, label="one fault map", s=14, color=GREY, alpha=0.6)
    axes.plot(series.severities, series.epochs, color=BLUE, lw=2, label="resilience map")  # type: ignore[arg-type]
    _mark_limit(axes, resilience_map)
    _mark_chips(axes, series, planned=plan is None or not plan.until_met)
    # last and filled: these say why the map ends, and chips lie at the same height
    _mark_beyond(
        axes, series, series.crossings, "fault maps, not met within the budget", GREY, fill=GREY
    )
    axes.set_xlabel(f"severity: share of {IN_WORDS[experiment.severity_name]}")
    axes.set_ylabel("retraining amount (epochs)")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # points at 0 are drawn whole
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


def _mark_chips(axes: Axes, series: MapSeries, planned: bool) -> None:
    chips, groups = series.chips, series.groups
    inside = sum(epochs is not None for _, epochs, _ in chips)
    label = f"a chip ({inside} of {len(chips)} are {'salvageable' if planned else 'within it'})"
    _mark(axes, chips, label=label, marker="|", s=90, color=GREEN, zorder=3)
    beyond = "unsalvageable" if planned else "beyond the resilience map"
    _mark_beyond(axes, series, chips, f"chips, {beyond}", GREEN)
    ring = {"s": 46, "facecolors": "none", "edgecolors": ORANGE, "lw": 1.4, "zorder": 4}
    _mark(axes, groups, label=f"a group of chips, fused ({len(groups)})", **ring)
    _mark_beyond(axes, series, groups, "groups, beyond the resilience map", ORANGE)


def _mark(axes: Axes, points: Sequence[Point], **style: Any) -> None:
    """Mark points within the budget."""
    within = [(severity, epochs) for severity, epochs, _ in points if epochs is not None]
    if within:
        axes.scatter(*zip(*within, strict=True), **style)


def _mark_beyond(
    axes: Axes,
    series: MapSeries,
    points: Sequence[Point],
    name: str,
    color: str,
    fill: str = "none",
) -> None:
    """Mark the others above the budget: their retraining amount is not known."""
    beyond = [severity for severity, epochs, _ in points if epochs is None]
    if beyond:
        style: dict[str, Any] = {"marker": "^", "s": 30, "facecolors": fill, "zorder": 4}
        heights = [series.beyond_epochs] * len(beyond)
        axes.scatter(beyond, heights, edgecolors=color, label=f"{name} ({len(beyond)})", **style)


def plot_strategies(outcome: Outcome) -> Figure:
    """Draw the cost of every strategy, with and without the analysis, and the chips that pass."""
    series = cost_series(outcome)
    figure = Figure(figsize=(8.5, 0.55 * len(series.names) + 1.7), layout="constrained")
    axes = figure.subplots()
    axes.barh(series.names, series.retraining, color=BLUE, label="retraining")
    if series.once_label:
        style: dict[str, Any] = {"color": "none", "edgecolor": GREY, "hatch": "///"}
        style["label"] = series.once_label
        axes.barh(series.names, series.once, left=series.retraining, **style)
    ends = [sum(epochs) for epochs in zip(series.retraining, series.once, strict=True)]
    for row, (epochs, label) in enumerate(zip(series.retraining, series.labels, strict=True)):
        text, place = f"{epochs:.1f} epochs; {label}", (ends[row], row)
        axes.annotate(
            text, place, xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    axes.invert_yaxis()
    axes.set_xlim(0, 1.75 * (max(ends) or 1.0))
    axes.set_xlabel("epochs of training, all chips together")
    axes.set_title("Cost of each strategy, and chips that pass on test", pad=26)
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


def plot_fault_rates(
    curves: Sequence[ResilienceCurve],
    steps_per_epoch: int,
    target: float,
    metric: Metric = ACCURACY,
) -> Figure:
    """Draw the metric against fault rate, one line per amount: mean, and range over the fault maps.

    Without repairs the line of amount 0 is masking alone (FAP). A curve that ended where it met
    the constraint keeps its last value.
    """
    steps = max((curve.amount_steps for curve in curves), key=len)
    shown = sorted({round(i) for i in np.linspace(0, len(steps) - 1, min(len(steps), MOST_LINES))})
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for point in shown:
        epochs = steps[point] / steps_per_epoch
        after = f"after {epochs:.3g} epoch{'' if epochs == 1 else 's'}"
        label = after if point else "before retraining"
        color = colormaps["cividis"](0.9 * (1 - point / len(steps))) if point else GREY
        _draw_amount(axes, curves, steps[point], metric, color=color, label=label)
    unit = 100 if metric.is_share else 1
    axes.axhline(unit * target, color=ORANGE, lw=1, ls="--", label=f"target: {metric.show(target)}")
    axes.set_xlabel("fault rate of the array")
    axes.set_ylabel(f"validation {metric.label}")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8.5, frameon=False)
    axes.set_title("Before and after retraining: mean and range over fault maps", fontsize=11)
    return figure


def _draw_amount(
    axes: Axes,
    curves: Sequence[ResilienceCurve],
    steps: int,
    metric: Metric,
    color: str | tuple[float, ...],
    label: str,
) -> None:
    """Draw the line of one amount; a divergence is a gap."""
    rates = sorted({curve.fault_rate for curve in curves})
    unit = 100 if metric.is_share else 1
    repeats = [[_at(c, steps) for c in curves if c.fault_rate == rate] for rate in rates]
    means = [unit * float(np.mean(values)) for values in repeats]
    below = [mean - unit * min(values) for mean, values in zip(means, repeats, strict=True)]
    above = [unit * max(values) - mean for mean, values in zip(means, repeats, strict=True)]
    axes.errorbar(
        rates, means, np.maximum(0, [below, above]), color=color, label=label,
        ls="-" if steps else ":", marker="o", ms=3.5, capsize=2.5,
    )  # fmt: skip


def _at(curve: ResilienceCurve, steps: int) -> float:
    """Return what a curve recorded last at or before an amount."""
    return curve.metric[bisect_right(curve.amount_steps, steps) - 1]
