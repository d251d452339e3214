"""Parts of interactive figures, as Plotly's own JSON."""

from __future__ import annotations

from typing import Any

from efat.reporting.figures.style import ORANGE

Trace = dict[str, Any]
Chart = dict[str, Any]


def cost_bars(
    epochs: list[float],
    strategies: list[str],
    name: str,
    color: str,
    text: list[str] | None = None,
    pattern: str = "",
) -> Trace:
    """Lay epochs out as bars to the right, one per strategy."""
    return {
        "type": "bar",
        "orientation": "h",
        "x": epochs,
        "y": strategies,
        "name": name,
        "marker": {"color": color, "pattern": {"shape": pattern, "fillmode": "replace"}},
        "customdata": text or [""] * len(epochs),
        "hovertemplate": "%{y}: %{x:.1f} epochs %{customdata}<extra>" + name + "</extra>",
    }


def dots(
    x: list[Any],
    y: list[Any],
    name: str,
    color: str,
    symbol: str,
    size: int,
    text: list[str] | None = None,
) -> Trace:
    """Mark points."""
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


def line(x: list[Any], y: list[Any], name: str, color: str, width: int) -> Trace:
    """Join points."""
    style = {"color": color, "width": width}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": style}


def level(value: float) -> dict[str, Any]:
    """Draw the constraint across a figure."""
    style = {"color": ORANGE, "dash": "dash", "width": 1.5}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value,
            "line": style}  # fmt: skip


def chart(traces: list[Trace], x: str, y: str, x_percent: bool = False, **layout: Any) -> Chart:
    """Put traces on common axes; `layout` changes Plotly's."""
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
