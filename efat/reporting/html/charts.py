"""What a run cost and did to its chips: interactive figures, as Plotly's own JSON."""

from __future__ import annotations

from typing import Any

from efat.reporting.figures.style import BLUE, MID_GREY, ORANGE
from efat.reporting.html.plotly import Chart, Trace, chart, cost_bars, dots, level
from efat.reporting.html.resilience import epochs_of
from efat.reporting.html.run_reader import FinishedRun, Row


def cost_chart(run: FinishedRun) -> Chart:
    """Draw the epochs of each strategy, with and without the analysis."""
    strategies = run.summary["strategies"][::-1]
    names = [strategy["name"] for strategy in strategies]
    retraining = [strategy["retraining"]["epochs"] for strategy in strategies]
    analysis = [run.once_epochs(strategy) for strategy in strategies]
    met = [_met(strategy, len(run.chips)) for strategy in strategies]
    once = ["analysis"] * run.analysed + ["hardening"] * bool(run.hardening_epochs)
    bars = [cost_bars(retraining, names, "retraining", BLUE, text=met)]
    if once:
        label = f"{' and '.join(once)} (once a network)"
        bars.append(cost_bars(analysis, names, label, MID_GREY, pattern="/"))
    return chart(
        bars,
        "epochs, all chips together",
        "",
        barmode="stack",
        height=120 + 42 * len(names),
    )


def _met(strategy: dict[str, Any], chips: int) -> str:
    """Say how many chips meet the constraint on test, and how many are certified."""
    verified = strategy.get("verified")
    more = "" if verified is None else f", {verified} certified"
    return f"{strategy['met_test']} of {chips} meet it{more}"


def chips_chart(run: FinishedRun) -> Chart:
    """Draw every chip's test metric before and after."""
    unit = 100 if run.metric.is_share else 1
    rows = sorted(run.chips, key=lambda row: row["fault_rate"])
    traces = [chip_dots(rows, "test_before", "before", MID_GREY, "circle-open", unit)]
    for met, name, color, symbol in (
        (True, "after: meets it", BLUE, "circle"),
        (False, "after: short", ORANGE, "x"),
    ):
        part = [row for row in rows if row["met_test"] is met]
        traces.append(chip_dots(part, "test_after", name, color, symbol, unit))
    label = f"test {run.metric.label}"
    figure = chart(traces, "faulty PEs of the chip", label, x_percent=True)
    figure["layout"]["shapes"] = [level(unit * run.summary["targets"]["test"])]
    return figure


def chip_dots(
    rows: list[Row], column: str, name: str, color: str, symbol: str, unit: float
) -> Trace:
    """Mark a column of the table of chips over their faulty PEs."""
    rates, values = [r["fault_rate"] for r in rows], [unit * r[column] for r in rows]
    names = [f"{r['chip_id']} {r['group']}" for r in rows]
    return dots(rates, values, name, color, symbol, 7, names)


def plan_chart(run: FinishedRun) -> Chart:
    """Draw what each group takes beside what its chips would on their own: training, models."""
    groups = planned_groups(run)
    epoch = run.steps_per_epoch
    alone = [epochs_of(row.get("alone_steps"), epoch) for row in groups]
    shared = [epochs_of(row["amount_steps"], epoch) for row in groups]
    counts = [row["chips"] for row in groups]
    panels: list[tuple[str, str, list[Any], list[Any]]] = [
        ("y", "models to store", counts, [1] * len(groups))
    ]
    if needs_retraining(run):
        panels.insert(0, ("y2", "retraining (epochs)", alone, shared))
    traces = [trace for panel in panels for trace in _beside(groups, *panel)]
    figure = chart(traces, "group", panels[-1][1], barmode="group", height=300)
    if len(panels) > 1:
        upper = {"title": {"text": panels[0][1]}, "automargin": True, "domain": [0.42, 1]}
        figure["layout"] |= {"yaxis2": upper, "height": 520}
        figure["layout"]["yaxis"]["domain"] = [0, 0.32]
        figure["layout"]["xaxis"]["anchor"] = "y"
    return figure


def planned_groups(run: FinishedRun) -> list[Row]:
    """Return the groups of the plan, without the row of unsalvageable chips."""
    return [row for row in run.groups if row["group"] != "unsalvageable"]


def needs_retraining(run: FinishedRun) -> bool:
    """Tell whether a group is retrained at all, or any of its chips would be on its own."""
    rows = planned_groups(run)
    return any(row["amount_steps"] != 0 or row.get("alone_steps") for row in rows)


def _beside(
    groups: list[Row], axis: str, what: str, alone: list[Any], shared: list[Any]
) -> list[Trace]:
    """Draw one panel of the plan; both panels have one legend."""
    names = [row["group"] for row in groups]
    label = [f"{row['chips']:.0f} chips, {row['fused_rate']:.1%} faulty, fused" for row in groups]
    bars = (("its chips on their own", MID_GREY, alone), ("the group", BLUE, shared))
    return [
        {"type": "bar", "x": names, "y": values, "name": name, "marker": {"color": color},
         "yaxis": axis, "legendgroup": name, "showlegend": axis == "y", "customdata": label,
         "hovertemplate": f"%{{x}}: %{{y:.4~g}} {what}, %{{customdata}}<extra>{name}</extra>"}
        for name, color, values in bars
    ]  # fmt: skip


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
        points = dots(mean, layers, name, color, "circle", 8)
        beside = {"orientation": "h", "offsetgroup": what}  # not one bar on the other
        traces.append(points | {"error_x": spread} | beside)
    figure = chart(
        traces, "share of weights pruned", "", x_percent=True, scattermode="group",
        height=150 + 32 * len(run.layers),
    )  # fmt: skip
    figure["layout"]["yaxis"]["autorange"] = "reversed"
    return figure
