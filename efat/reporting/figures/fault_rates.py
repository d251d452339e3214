"""The field's usual figure: the metric against the fault rate, before and after retraining."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from efat.reporting.figures.style import GREY, ORANGE
from efat.resilience import ACCURACY, Metric, ResilienceCurve

MOST_LINES = 5
"""Amounts that are drawn, 0 and the last among them."""


def draw_fault_rates(
    curves: Sequence[ResilienceCurve],
    steps_per_epoch: int,
    target: float,
    metric: Metric = ACCURACY,
) -> Figure:
    """Draw the metric against fault rate, a line an amount: mean, and range over the fault maps.

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
    axes.axhline(unit * target, color=ORANGE, lw=1, ls="--", label=f"asked: {metric.show(target)}")
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
