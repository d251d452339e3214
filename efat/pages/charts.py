"""The interactive figures, as Plotly's own JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from efat.metric import ACCURACY
from efat.pages.finished import FinishedRun, Row
from efat.pages.resilience import crossings, epochs_of, resilience_map_of
from efat.palette import BLUE, GREEN, MID_GREY, ORANGE

Chart = dict[str, Any]


def cost_chart(run: FinishedRun) -> Chart:
    """Draw the epochs of each strategy, with and without the analysis."""
    strategies = run.summary["strategies"][::-1]
    names = [strategy["name"] for strategy in strategies]
    retraining = [strategy["retraining"]["epochs"] for strategy in strategies]
    analysis = [run.once_epochs(strategy) for strategy in strategies]
    met = [_met(strategy, len(run.chips)) for strategy in strategies]
    return _chart(
        [
            _bar(retraining, names, "retraining", BLUE, text=met),
            _bar(analysis, names, "analysis (once a network)", MID_GREY, pattern="/"),
        ],
        "epochs, all chips together",
        "",
        barmode="stack",
        height=120 + 42 * len(names),
    )


def _met(strategy: dict[str, Any], chips: int) -> str:
    """Say how many chips meet the constraint on test, and how many are verified to."""
    verified = strategy.get("verified")
    more = "" if verified is None else f", {verified} verified"
    return f"{strategy['met_test']} of {chips} meet it{more}"


def _bar(
    values: list[float],
    names: list[str],
    name: str,
    color: str,
    text: list[str] | None = None,
    pattern: str = "",
) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "x": values,
        "y": names,
        "name": name,
        "marker": {"color": color, "pattern": {"shape": pattern, "fillmode": "replace"}},
        "customdata": text or [""] * len(values),
        "hovertemplate": "%{y}: %{x:.1f} epochs %{customdata}<extra>" + name + "</extra>",
    }


def map_chart(run: FinishedRun) -> Chart:
    """Draw the resilience map, the curves' crossings, the chips and the fused groups on it."""
    document = run.resilience_map
    epoch = document["steps_per_epoch"]
    resilience_map = resilience_map_of(document)
    grid = np.linspace(0, max(resilience_map.severities), 300)
    needed = [epochs_of(resilience_map.amount(float(s)), epoch) for s in grid]
    seen = crossings(run)
    chips = [(c["severity"], resilience_map.amount(c["severity"]), c["chip_id"]) for c in run.chips]
    groups = [g for g in run.plan["groups"] if len(g["members"]) > 1]
    return _chart(
        [
            _dots(
                [s for s, _ in seen], [a for _, a in seen], "one fault map", MID_GREY, "circle", 6
            ),
            _line(grid.tolist(), needed, "resilience map", BLUE, 3),
            _dots(
                [s for s, _, _ in chips],
                [epochs_of(a, epoch) for _, a, _ in chips],
                "a chip",
                GREEN,
                "line-ns-open",
                12,
                [name for _, _, name in chips],
            ),
            _dots(
                [g["severity"] for g in groups],
                [epochs_of(g["amount_steps"], epoch) for g in groups],
                "a group of chips, fused",
                ORANGE,
                "circle-open",
                11,
                [f"{g['group']}: {len(g['members'])} chips" for g in groups],
            ),
        ],
        f"severity of the fault map ({document['severity'].replace('_', ' ')})",
        "amount of retraining (epochs)",
        x_percent=True,
    )


def curves_chart(run: FinishedRun) -> Chart:
    """Draw the mean curve of each fault rate; the page shows one rate's band and repeats."""
    unit = 100 if run.metric.is_share else 1
    rates = sorted({row["fault_rate"] for row in run.curves})
    traces: list[dict[str, Any]] = []
    for index, rate in enumerate(rates):
        epochs, low, mean, high = _band(run, rate, unit)
        color = _shade(index / max(1, len(rates) - 1))
        name = f"{rate:.3g}" if rate < 0.001 else f"{rate:.1%}"
        band = _line([*epochs, *epochs[::-1]], [*high, *low[::-1]], f"{name}: range", color, 0)
        band |= {"fill": "toself", "opacity": 0.3, "visible": False, "hoverinfo": "skip"}
        traces += [band | {"meta": rate}, _line(epochs, mean, name, color, 2) | {"meta": rate}]
    chart = _chart(traces, "amount of retraining (epochs)", f"validation {run.metric.label}")
    target = unit * run.resilience_map["target"]
    chart["layout"]["shapes"] = [_level(target)]
    if run.metric == ACCURACY:  # else the curves' high ends, which matter, are one line
        chart["layout"]["yaxis"]["range"] = [max(0.0, target - 15), min(100.5, target + 3)]
    return chart


def _band(
    run: FinishedRun, rate: float, unit: float
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return epochs, and the least, mean and greatest metric; a curve that diverged ends."""
    points: dict[float, list[float]] = {}
    for row in run.curves:
        if row["fault_rate"] == rate and row["val_metric"] is not None:
            points.setdefault(row["amount_epochs"], []).append(unit * row["val_metric"])
    epochs = sorted(points)
    by: list[Callable[[list[float]], float]] = [min, lambda v: sum(v) / len(v), max]
    low, mean, high = ([measure(points[e]) for e in epochs] for measure in by)
    return epochs, low, mean, high


def _shade(place: float) -> str:
    """Return a colour of cividis, made for the colour-blind (Nunez et al., 2018), not too pale."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return str(to_hex(colormaps["cividis"](0.1 + 0.75 * place)))


def chips_chart(run: FinishedRun) -> Chart:
    """Draw every chip's test metric before and after."""
    unit = 100 if run.metric.is_share else 1
    rows = sorted(run.chips, key=lambda row: row["fault_rate"])
    traces = [_chip_dots(rows, "test_before", "before", MID_GREY, "circle-open", unit)]
    for met, name, color, symbol in (
        (True, "after: meets it", BLUE, "circle"),
        (False, "after: short", ORANGE, "x"),
    ):
        part = [row for row in rows if row["met_test"] is met]
        traces.append(_chip_dots(part, "test_after", name, color, symbol, unit))
    label = f"test {run.metric.label}"
    chart = _chart(traces, "faulty PEs of the chip", label, x_percent=True)
    chart["layout"]["shapes"] = [_level(unit * run.summary["targets"]["test"])]
    return chart


def _chip_dots(
    rows: list[Row], column: str, name: str, color: str, symbol: str, unit: float
) -> dict[str, Any]:
    rates, values = [r["fault_rate"] for r in rows], [unit * r[column] for r in rows]
    names = [f"{r['chip_id']} {r['group']}" for r in rows]
    return _dots(rates, values, name, color, symbol, 7, names)


def groups_chart(run: FinishedRun) -> Chart:
    """Draw what each group costs beside what its chips would on their own."""
    groups = [row for row in run.groups if row["group"] != "unsalvageable"]
    names = [row["group"] for row in groups]
    epoch = run.resilience_map["steps_per_epoch"]
    label = [f"{row['chips']:.0f} chips, {row['fused_rate']:.1%} faulty, fused" for row in groups]
    traces = []
    for column, name, color in (
        ("price_alone", "its chips on their own", MID_GREY),
        ("price", "the group", BLUE),
    ):
        heights = [None if row[column] is None else row[column] / epoch for row in groups]
        traces.append(
            {"type": "bar", "x": names, "y": heights, "name": name, "marker": {"color": color},
             "customdata": label,
             "hovertemplate": "%{x}: %{y:.2f}, %{customdata}<extra>" + name + "</extra>"}
        )  # fmt: skip
    return _chart(traces, "group, dearest first", "price, in epochs", barmode="group")


def layers_chart(run: FinishedRun) -> Chart:
    """Draw the share of each layer that is pruned: mean and range."""
    traces = []
    for what, name, color in (("chips", "chips' own maps", BLUE), ("models", "models", ORANGE)):
        rows = [row for row in run.layers if row[f"{what}_mean"] is not None]
        mean = [row[f"{what}_mean"] for row in rows]
        up = [row[f"{what}_max"] - row[f"{what}_mean"] for row in rows]
        down = [row[f"{what}_mean"] - row[f"{what}_min"] for row in rows]
        spread = {"type": "data", "symmetric": False, "array": up, "arrayminus": down}
        layers = [row["layer"] for row in rows]
        dots = _dots(mean, layers, name, color, "circle", 8)
        beside = {"orientation": "h", "offsetgroup": what}  # not one bar on the other
        traces.append(dots | {"error_x": spread} | beside)
    chart = _chart(
        traces, "share of weights pruned", "", x_percent=True, scattermode="group",
        height=150 + 32 * len(run.layers),
    )  # fmt: skip
    chart["layout"]["yaxis"]["autorange"] = "reversed"
    return chart


Named = tuple[str, FinishedRun, str]
"""A run, its name and its colour, among others."""


def costs_side_by_side(named: list[Named]) -> Chart:
    """Draw the epochs of every strategy, a colour a run."""
    traces = []
    for name, run, color in named:
        strategies = run.summary["strategies"]
        epochs = [strategy["retraining"]["epochs"] for strategy in strategies]
        traces.append(_bar(epochs, [s["name"] for s in strategies], name, color))
    count = len({name for trace in traces for name in trace["y"]})
    height = 150 + (16 * len(named) + 14) * count
    chart = _chart(traces, "epochs of retraining", "", barmode="group", height=height)
    chart["layout"]["yaxis"]["autorange"] = "reversed"  # the first run on top, as in the legend
    return chart


def maps_side_by_side(named: list[Named]) -> Chart:
    """Draw the resilience maps; severities of different measures share the axis."""
    traces = []
    for index, (name, run, color) in enumerate(named):
        resilience_map = resilience_map_of(run.resilience_map)
        grid = np.linspace(0, max(resilience_map.severities), 300)
        epoch = run.resilience_map["steps_per_epoch"]
        needed = [epochs_of(resilience_map.amount(float(s)), epoch) for s in grid]
        trace = _line(grid.tolist(), needed, name, color, 3)
        trace["line"]["dash"] = ("solid", "dash", "dot")[index % 3]  # equal maps hide each other
        traces.append(trace)
    label = "severity of the fault map"
    return _chart(traces, label, "amount of retraining (epochs)", x_percent=True)


def chips_side_by_side(named: list[Named]) -> Chart:
    """Draw every chip's test metric after retraining, a colour and a symbol a run."""
    symbols = ("circle", "x", "diamond-open", "square-open", "cross", "triangle-up-open")
    unit = 100 if named[0][1].metric.is_share else 1
    traces = [
        _chip_dots(list(run.chips), "test_after", name, color, symbols[i % len(symbols)], unit)
        for i, (name, run, color) in enumerate(named)
    ]
    label = f"test {named[0][1].metric.label}"
    return _chart(traces, "faulty PEs of the chip", label, x_percent=True)


def _dots(
    x: list[Any],
    y: list[Any],
    name: str,
    color: str,
    symbol: str,
    size: int,
    text: list[str] | None = None,
) -> dict[str, Any]:
    marker = {"color": color, "symbol": symbol, "size": size}
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": x,
        "y": y,
        "name": name,
        "marker": marker,
    }
    return trace | ({"text": text} if text else {})


def _line(x: list[Any], y: list[Any], name: str, color: str, width: int) -> dict[str, Any]:
    line = {"color": color, "width": width}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": line}


def _level(value: float) -> dict[str, Any]:
    """Draw the constraint across a figure."""
    line = {"color": ORANGE, "dash": "dash", "width": 1.5}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value,
            "line": line}  # fmt: skip


def _chart(
    traces: list[dict[str, Any]], x: str, y: str, x_percent: bool = False, **layout: Any
) -> Chart:
    axis = {"title": {"text": x}, "automargin": True} | ({"tickformat": ".0%"} if x_percent else {})
    return {
        "data": traces,
        "layout": {
            "xaxis": axis,
            "yaxis": {"title": {"text": y}, "automargin": True},
            "margin": {"l": 50, "r": 12, "t": 10, "b": 50},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
            "height": 400,
            **layout,
        },
    }
