"""Interactive figures of one run or several, as Plotly's own JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from efat.campaign.run_result import RunResult
from efat.campaign.tables import ChipResult, GroupResult
from efat.reporting.figures.series import cost_series, map_line
from efat.reporting.figures.style import BLUE, MID_GREY, ORANGE
from efat.reporting.html.plotly import Chart, Trace, chart, cost_bars, dots, level, line

Named = tuple[str, RunResult, str]
"""A run, its name and its colour, among others."""


def cost_chart(run: RunResult) -> Chart:
    """Draw the epochs of each strategy, with and without the analysis."""
    series = cost_series(run.outcome)
    names, texts = series.names[::-1], series.labels[::-1]
    bars = [cost_bars(series.retraining[::-1], names, "retraining", BLUE, text=texts)]
    if series.once_label:
        bars.append(cost_bars(series.once[::-1], names, series.once_label, MID_GREY, pattern="/"))
    height = 120 + 42 * len(names)
    return chart(bars, "epochs, all chips together", "", barmode="stack", height=height)


def chips_chart(run: RunResult) -> Chart:
    """Draw every chip's test metric before and after."""
    unit = 100 if run.metric.is_share else 1
    rows = sorted(run.chips, key=lambda chip: chip.fault_rate)
    traces = [chip_dots(rows, "test_before", "before", MID_GREY, "circle-open", unit)]
    for passes, name, color, symbol in (
        (True, "after: pass", BLUE, "circle"),
        (False, "after: fail", ORANGE, "x"),
    ):
        part = [chip for chip in rows if chip.pass_test is passes]
        traces.append(chip_dots(part, "test_after", name, color, symbol, unit))
    label = f"test {run.metric.label}"
    figure = chart(traces, "faulty PEs of the chip", label, x_percent=True)
    figure["layout"]["shapes"] = [level(unit * run.outcome.targets.test)]
    return figure


def chip_dots(
    chips: Sequence[ChipResult], column: str, name: str, color: str, symbol: str, unit: float
) -> Trace:
    """Mark a column of the table of chips over their faulty PEs."""
    values = [unit * getattr(chip, column) for chip in chips]
    names = [f"{chip.chip_id} {chip.group}" for chip in chips]
    return dots([chip.fault_rate for chip in chips], values, name, color, symbol, 7, names)


def plan_chart(run: RunResult) -> Chart:
    """Draw what each group takes beside its chips one by one: retraining, models."""
    groups = run.planned_groups
    panels: list[tuple[str, str, list[Any], list[Any]]] = [
        ("y", "models to store", [row.chips for row in groups], [1] * len(groups))
    ]
    if needs_retraining(run):
        alone = [run.epochs(row.alone_steps) for row in groups]
        shared = [run.epochs(row.amount_steps) for row in groups]
        panels.insert(0, ("y2", "retraining (epochs)", alone, shared))
    traces = [trace for panel in panels for trace in _beside(groups, *panel)]
    figure = chart(traces, "group", panels[-1][1], barmode="group", height=300)
    if len(panels) > 1:
        upper = {"title": {"text": panels[0][1]}, "automargin": True, "domain": [0.42, 1]}
        figure["layout"] |= {"yaxis2": upper, "height": 520}
        figure["layout"]["yaxis"]["domain"] = [0, 0.32]
        figure["layout"]["xaxis"]["anchor"] = "y"
    return figure


def needs_retraining(run: RunResult) -> bool:
    """Return whether a group is retrained at all, or any of its chips would be on its own."""
    return any(row.amount_steps != 0 or row.alone_steps for row in run.planned_groups)


def _beside(
    groups: Sequence[GroupResult], axis: str, what: str, alone: list[Any], shared: list[Any]
) -> list[Trace]:
    """Draw one panel of the plan; both panels have one legend."""
    names = [row.group for row in groups]
    labels = [f"{row.chips} chips, {row.fused_rate:.1%} fused fault rate" for row in groups]
    bars = (("its chips on their own", MID_GREY, alone), ("the group", BLUE, shared))
    return [
        {"type": "bar", "x": names, "y": values, "name": name, "marker": {"color": color},
         "yaxis": axis, "legendgroup": name, "showlegend": axis == "y", "customdata": labels,
         "hovertemplate": f"%{{x}}: %{{y:.4~g}} {what}, %{{customdata}}<extra>{name}</extra>"}
        for name, color, values in bars
    ]  # fmt: skip


def layers_chart(run: RunResult) -> Chart:
    """Draw the share of each layer that is pruned: mean and range."""
    traces = []
    for what, name, color in (
        ("chips", "chips' own fault maps", BLUE),
        ("models", "models", ORANGE),
    ):
        rows = [row for row in run.layers if row[f"{what}_mean"] is not None]
        mean = [row[f"{what}_mean"] for row in rows]
        up = [row[f"{what}_max"] - row[f"{what}_mean"] for row in rows]
        down = [row[f"{what}_mean"] - row[f"{what}_min"] for row in rows]
        spread = {"type": "data", "symmetric": False, "array": up, "arrayminus": down}
        points = dots(mean, [row["layer"] for row in rows], name, color, "circle", 8)
        beside = {"orientation": "h", "offsetgroup": what}  # not one bar on the other
        traces.append(points | {"error_x": spread} | beside)
    height = 150 + 32 * len(run.layers)
    figure = chart(
        traces, "share of weights pruned", "", x_percent=True, scattermode="group", height=height
    )
    figure["layout"]["yaxis"]["autorange"] = "reversed"
    return figure


def costs_side_by_side(named: list[Named]) -> Chart:
    """Draw the epochs of every strategy, one colour per run."""
    traces = []
    for name, run, color in named:
        series = cost_series(run.outcome)
        traces.append(cost_bars(series.retraining, series.names, name, color))
    count = len({name for trace in traces for name in trace["y"]})
    height = 150 + (16 * len(named) + 14) * count
    figure = chart(traces, "epochs of retraining", "", barmode="group", height=height)
    figure["layout"]["yaxis"]["autorange"] = "reversed"  # the first run on top, as in the legend
    return figure


def maps_side_by_side(named: list[Named]) -> Chart:
    """Draw the resilience maps; severities of different measures share the axis."""
    traces = []
    for index, (name, run, color) in enumerate(named):
        if run.map is None:
            continue
        drawn = map_line(run.map.resilience_map, run.amounts.steps_per_epoch)
        trace = line(*drawn, name, color, 3)
        trace["line"]["dash"] = ("solid", "dash", "dot")[index % 3]  # equal maps hide each other
        traces.append(trace)
    label = "severity of the fault map"
    return chart(traces, label, "retraining amount (epochs)", x_percent=True)


def chips_side_by_side(named: list[Named]) -> Chart:
    """Draw every chip's test metric after retraining, one colour and symbol per run."""
    symbols = ("circle", "x", "diamond-open", "square-open", "cross", "triangle-up-open")
    metric = named[0][1].metric
    unit = 100 if metric.is_share else 1
    traces = [
        chip_dots(run.chips, "test_after", name, color, symbols[i % len(symbols)], unit)
        for i, (name, run, color) in enumerate(named)
    ]
    return chart(traces, "faulty PEs of the chip", f"test {metric.label}", x_percent=True)
