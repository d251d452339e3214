"""The resilience map and its curves, as Plotly's own JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence

from efat.campaign.run_result import RunResult
from efat.reporting.figures.series import MapSeries, Point, band, map_series
from efat.reporting.figures.style import BLUE, GREEN, MID_GREY, ORANGE
from efat.reporting.html.plotly import Chart, Trace, chart, dots, level, line
from efat.resilience import ACCURACY, IN_WORDS, ResilienceCurve


def map_chart(run: RunResult) -> Chart:
    """Draw the resilience map, the curves' crossings, the chips and the fused groups on it."""
    assert run.map is not None  # noqa: S101 - drawn only where something was analysed
    target, sustained = run.map.target, run.map.sustained
    series = map_series(
        run.map.resilience_map,
        [(curve.severity, curve.crossing(target, sustained)) for curve in run.curves],
        [(chip.chip_id, chip.severity) for chip in run.chips],
        [
            (f"{g.group}: {len(g.members)}", g.severity, _or_inf(g.amount_steps))
            for g in run.plan.groups
            if len(g.members) > 1
        ],
        run.amounts.steps_per_epoch,
        run.amounts.budget_steps,
    )
    crossings, chips, groups = series.crossings, series.chips, series.groups
    traces = [
        _within(crossings, "one fault map", MID_GREY, "circle", 6),
        line(series.severities, series.epochs, "resilience map", BLUE, 3),
        _within(chips, "a chip", GREEN, "line-ns-open", 12),
        _within(groups, "a group of chips, fused", ORANGE, "circle-open", 11),
        *_beyond(series, chips, "a chip", "beyond the resilience map", GREEN),
        *_beyond(series, groups, "a group", "beyond the resilience map", ORANGE),
        # last and filled: these say why the map ends, and chips lie at the same height
        *_beyond(series, crossings, "a fault map", "not met within the budget", MID_GREY, ""),
    ]
    label = f"severity: share of {IN_WORDS[run.map.severity]}"
    return chart(traces, label, "retraining amount (epochs)", x_percent=True)


def _or_inf(steps: float | None) -> float:
    return math.inf if steps is None else steps


def _within(points: Sequence[Point], name: str, color: str, symbol: str, size: int) -> Trace:
    """Mark points within the budget."""
    within = [point for point in points if point[1] is not None]
    names = [name for _, _, name in within if name]
    x, y = [s for s, _, _ in within], [e for _, e, _ in within]
    return dots(x, y, name, color, symbol, size, names)


def _beyond(
    series: MapSeries, points: Sequence[Point], what: str, why: str, color: str, form: str = "-open"
) -> list[Trace]:
    """Mark the others above the budget: their retraining amount is not known."""
    beyond = [(severity, name) for severity, epochs, name in points if epochs is None]
    if not beyond:
        return []
    x, y = [s for s, _ in beyond], [series.beyond_epochs] * len(beyond)
    names = [name for _, name in beyond if name]
    marks = dots(x, y, f"{what}, {why}", color, f"triangle-up{form}", 10, names)
    return [marks | {"hovertemplate": f"%{{x}}: {why} %{{text}}<extra>{what}"}]


def curves_chart(run: RunResult) -> Chart:
    """Draw the mean curve of each fault rate; the page shows the range of one rate.

    A curve that ended where it met the constraint keeps its last value, and its end is marked.
    """
    assert run.map is not None  # noqa: S101 - drawn only where something was analysed
    unit = 100 if run.metric.is_share else 1
    rates = sorted({curve.fault_rate for curve in run.curves})
    ends = run.early_ends
    traces: list[Trace] = []
    for index, rate in enumerate(rates):
        curves = [curve for curve in run.curves if curve.fault_rate == rate]
        drawn = band(curves, run.amounts.steps_per_epoch, unit)
        color = _shade(index / max(1, len(rates) - 1))
        name = f"{rate:.3g}" if rate < 0.001 else f"{rate:.1%}"
        x, y = [*drawn.epochs, *drawn.epochs[::-1]], [*drawn.high, *drawn.low[::-1]]
        area = line(x, y, f"{name}: range", color, 0)
        area |= {"fill": "toself", "opacity": 0.3, "visible": False, "hoverinfo": "skip"}
        own = [curve for curve in ends if curve.fault_rate == rate and not curve.diverged]
        mean = line(drawn.epochs, drawn.mean, name, color, 2)
        marks = _ends(run, own, name, color, unit)
        traces += [trace | {"meta": rate} for trace in (area, mean, *marks)]
    figure = chart(traces, "retraining amount (epochs)", f"validation {run.metric.label}")
    target = unit * run.map.target
    figure["layout"]["shapes"] = [level(target)]
    room = 0.02 * max(run.budget_epochs, 1) if ends else 0.0  # for dots at amount 0
    figure["layout"]["xaxis"]["range"] = [-room, run.budget_epochs + room]
    if run.metric == ACCURACY:  # else the upper ends of the curves would be one line
        values = [unit * v for curve in run.curves for v in curve.metric if math.isfinite(v)]
        lowest = max(0.0, target - 15, min(values, default=0.0) - 1)
        figure["layout"]["yaxis"]["range"] = [min(lowest, target - 1), min(100.5, target + 3)]
    return figure


def _ends(
    run: RunResult, curves: Sequence[ResilienceCurve], rate: str, color: str, unit: float
) -> list[Trace]:
    """Mark where curves of a fault rate ended before the budget."""
    if not curves:
        return []
    epochs = [run.epochs(curve.amount_steps[-1]) for curve in curves]
    values = [unit * curve.metric[-1] for curve in curves]
    marks = dots(epochs, values, f"{rate}: a curve ends", color, "circle", 7)
    return [marks | {"showlegend": False, "cliponaxis": False}]


def _shade(place: float) -> str:
    """Return a colour of cividis, made for the colour-blind (Nunez et al., 2018), not too pale."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return str(to_hex(colormaps["cividis"](0.1 + 0.75 * place)))
