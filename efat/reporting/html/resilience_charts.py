"""The resilience map and its curves, as Plotly's own JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from efat.reporting.figures.map_line import ABOVE
from efat.reporting.figures.style import BLUE, GREEN, MID_GREY, ORANGE
from efat.reporting.html.plotly import Chart, Trace, chart, dots, level, line
from efat.reporting.html.resilience import (
    crossings,
    curves_of,
    drawn_map,
    early_ends,
    epochs_of,
    resilience_map_of,
)
from efat.reporting.html.run_reader import FinishedRun, Row
from efat.resilience import ACCURACY, IN_WORDS

Point = tuple[float, float | None, str]
"""Severity, epochs (None: more than the budget) and a name."""


def map_chart(run: FinishedRun) -> Chart:
    """Draw the resilience map, the curves' crossings, the chips and the fused groups on it."""
    document = run.resilience_map
    epoch, resilience_map = document["steps_per_epoch"], resilience_map_of(document)
    seen = [(c.severity, c.epochs, "") for c in crossings(run)]
    chips = [
        (c["severity"], epochs_of(resilience_map.amount(c["severity"]), epoch), c["chip_id"])
        for c in run.chips
    ]
    groups = [
        (g["severity"], epochs_of(g["amount_steps"], epoch), f"{g['group']}: {len(g['members'])}")
        for g in run.plan["groups"]
        if len(g["members"]) > 1
    ]
    traces = [
        _within(seen, "one fault map", MID_GREY, "circle", 6),
        line(*drawn_map(document), "resilience map", BLUE, 3),
        _within(chips, "a chip", GREEN, "line-ns-open", 12),
        _within(groups, "a group of chips, fused", ORANGE, "circle-open", 11),
        *_beyond(run, seen, "a fault map", "not met within the budget", MID_GREY),
        *_beyond(run, chips, "a chip", "beyond the map", GREEN),
        *_beyond(run, groups, "a group", "beyond the map", ORANGE),
    ]
    label = f"severity: share of {IN_WORDS[document['severity']]}"
    return chart(traces, label, "amount of retraining (epochs)", x_percent=True)


def _within(points: Sequence[Point], name: str, color: str, symbol: str, size: int) -> Trace:
    """Mark what meets the constraint within the budget."""
    met = [point for point in points if point[1] is not None]
    names = [name for _, _, name in met if name]
    return dots([s for s, _, _ in met], [e for _, e, _ in met], name, color, symbol, size, names)


def _beyond(
    run: FinishedRun, points: Sequence[Point], what: str, why: str, color: str
) -> list[Trace]:
    """Mark what does not, above the budget: how much it would need is not known."""
    lost = [(severity, name) for severity, epochs, name in points if epochs is None]
    if not lost:
        return []
    height, names = (
        [ABOVE * (run.budget_epochs or 1)] * len(lost),
        [name for _, name in lost if name],
    )
    marks = dots(
        [s for s, _ in lost], height, f"{what}, {why}", color, "triangle-up-open", 10, names
    )
    return [marks | {"hovertemplate": f"%{{x}}: {why} %{{text}}<extra>{what}"}]


def curves_chart(run: FinishedRun) -> Chart:
    """Draw the mean curve of each fault rate; the page shows one rate's band.

    A curve that ended where it met the constraint keeps its last value, and its end is marked.
    """
    unit = 100 if run.metric.is_share else 1
    rates = sorted({row["fault_rate"] for row in run.curves})
    ends = early_ends(run)
    traces: list[Trace] = []
    for index, rate in enumerate(rates):
        epochs, low, mean, high = _band(run, rate, unit)
        color = _shade(index / max(1, len(rates) - 1))
        name = f"{rate:.3g}" if rate < 0.001 else f"{rate:.1%}"
        band = line([*epochs, *epochs[::-1]], [*high, *low[::-1]], f"{name}: range", color, 0)
        band |= {"fill": "toself", "opacity": 0.3, "visible": False, "hoverinfo": "skip"}
        own = [row for row in ends if row["fault_rate"] == rate and row["val_metric"] is not None]
        traces += [
            trace | {"meta": rate}
            for trace in (band, line(epochs, mean, name, color, 2), *_ends(own, name, color, unit))
        ]
    figure = chart(traces, "amount of retraining (epochs)", f"validation {run.metric.label}")
    target = unit * run.resilience_map["target"]
    figure["layout"]["shapes"] = [level(target)]
    room = 0.02 * max(run.budget_epochs, 1) if ends else 0.0  # for dots at amount 0
    figure["layout"]["xaxis"]["range"] = [-room, run.budget_epochs + room]
    if run.metric == ACCURACY:  # else the curves' high ends, which matter, are one line
        values = [unit * row["val_metric"] for row in run.curves if row["val_metric"] is not None]
        lowest = max(0.0, target - 15, min(values, default=0.0) - 1)
        figure["layout"]["yaxis"]["range"] = [min(lowest, target - 1), min(100.5, target + 3)]
    return figure


def _ends(rows: Sequence[Row], rate: str, color: str, unit: float) -> list[Trace]:
    """Mark where curves of a rate ended before the budget."""
    if not rows:
        return []
    epochs, values = [r["amount_epochs"] for r in rows], [unit * r["val_metric"] for r in rows]
    marks = dots(epochs, values, f"{rate}: a curve ends", color, "circle", 7)
    return [marks | {"showlegend": False, "cliponaxis": False}]


def _band(
    run: FinishedRun, rate: float, unit: float
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return epochs, and the least, mean and greatest metric; a curve that diverged ends."""
    curves = [
        {row["amount_epochs"]: row["val_metric"] for row in rows}
        for rows in curves_of(run)
        if rows[0]["fault_rate"] == rate
    ]
    points: dict[float, list[float]] = {}
    for epochs in sorted({epochs for curve in curves for epochs in curve}):
        values = [curve.get(epochs, list(curve.values())[-1]) for curve in curves]
        if measured := [unit * value for value in values if value is not None]:
            points[epochs] = measured
    by: list[Callable[[list[float]], float]] = [min, lambda v: sum(v) / len(v), max]
    low, mean, high = ([measure(values) for values in points.values()] for measure in by)
    return list(points), low, mean, high


def _shade(place: float) -> str:
    """Return a colour of cividis, made for the colour-blind (Nunez et al., 2018), not too pale."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return str(to_hex(colormaps["cividis"](0.1 + 0.75 * place)))
