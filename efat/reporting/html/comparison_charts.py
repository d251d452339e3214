"""Figures of runs side by side, as Plotly's own JSON."""

from __future__ import annotations

from efat.reporting.html.charts import chip_dots
from efat.reporting.html.plotly import Chart, chart, cost_bars, line
from efat.reporting.html.resilience import drawn_map
from efat.reporting.html.run_reader import FinishedRun

Named = tuple[str, FinishedRun, str]
"""A run, its name and its colour, among others."""


def costs_side_by_side(named: list[Named]) -> Chart:
    """Draw the epochs of every strategy, a colour a run."""
    traces = []
    for name, run, color in named:
        strategies = run.summary["strategies"]
        epochs = [strategy["retraining"]["epochs"] for strategy in strategies]
        traces.append(cost_bars(epochs, [s["name"] for s in strategies], name, color))
    count = len({name for trace in traces for name in trace["y"]})
    height = 150 + (16 * len(named) + 14) * count
    figure = chart(traces, "epochs of retraining", "", barmode="group", height=height)
    figure["layout"]["yaxis"]["autorange"] = "reversed"  # the first run on top, as in the legend
    return figure


def maps_side_by_side(named: list[Named]) -> Chart:
    """Draw the resilience maps; severities of different measures share the axis."""
    traces = []
    for index, (name, run, color) in enumerate(named):
        if not run.analysed:
            continue
        trace = line(*drawn_map(run.resilience_map), name, color, 3)
        trace["line"]["dash"] = ("solid", "dash", "dot")[index % 3]  # equal maps hide each other
        traces.append(trace)
    label = "severity of the fault map"
    return chart(traces, label, "amount of retraining (epochs)", x_percent=True)


def chips_side_by_side(named: list[Named]) -> Chart:
    """Draw every chip's test metric after retraining, a colour and a symbol a run."""
    symbols = ("circle", "x", "diamond-open", "square-open", "cross", "triangle-up-open")
    unit = 100 if named[0][1].metric.is_share else 1
    traces = [
        chip_dots(list(run.chips), "test_after", name, color, symbols[i % len(symbols)], unit)
        for i, (name, run, color) in enumerate(named)
    ]
    label = f"test {named[0][1].metric.label}"
    return chart(traces, "faulty PEs of the chip", label, x_percent=True)
