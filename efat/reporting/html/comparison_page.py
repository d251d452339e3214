"""The comparison of runs as a page and as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from efat.io import write_bytes
from efat.reporting.figures.style import AMBER, BLUE, GREEN, ORANGE, PURPLE, SKY
from efat.reporting.html.charts import chips_side_by_side, costs_side_by_side, maps_side_by_side
from efat.reporting.html.comparison import Comparison, Difference
from efat.reporting.html.report_markdown import markdown_table
from efat.reporting.html.report_page import packed, plotly_script, template
from efat.reporting.provenance import redact

HEAD = (
    "run", "difference (95%)", "mean test", "worst test", "pass, test", "certified", "pass, val.",
    "epochs", "incl. analysis", "models", "chips", "unsalvageable",
)  # fmt: skip
"""Narrow screens cut the last ones off, until one scrolls."""

SHOWN = "*: the interval leaves out zero, on at least five independent parts."
STATUSES = "Chips whose status differs"


def write_compare_page(comparison: Comparison, path: Path) -> None:
    """Write `compare.html`, one page that needs nothing else."""
    figures = {"figures": compare_figures(comparison)}
    html = template("compare.html.j2").render(
        head=HEAD,
        shown=SHOWN,
        heading=STATUSES,
        without_map=without_map(comparison),
        comparison=comparison,
        table=table(comparison),
        data=packed(json.dumps(figures, allow_nan=False).encode()),
        plotly=plotly_script(),
    )
    write_bytes(path, html.encode())


def write_compare_text(comparison: Comparison, path: Path) -> None:
    """Write `compare.md`."""
    parts = [
        "# Runs compared",
        "\n".join(f"- {finding}" for finding in comparison.findings),
        markdown_table(HEAD, table(comparison)),
        SHOWN,
        f"## {STATUSES}",
        markdown_table(["chip", *comparison.names], comparison.statuses),
        "## Settings that differ",
        markdown_table(["key", *comparison.names], comparison.settings),
        "\n".join(
            f"- {name}: `{redact(str(run.folder))}`"
            for name, run in zip(comparison.names, comparison.runs, strict=True)
        ),
    ]
    write_bytes(path, ("\n\n".join(parts) + "\n").encode())


def table(comparison: Comparison) -> list[list[str]]:
    """Lay the rows out under `HEAD`."""
    show = comparison.runs[0].metric.show
    unit = 100 if comparison.runs[0].metric.is_share else 1
    return [
        [
            row["run"],
            _interval(difference, unit),
            show(row["mean_test"]),
            show(row["worst_test"]),
            str(row["pass_test"]),
            "-" if row["certified"] is None else str(row["certified"]),
            str(row["pass_val"]),
            f"{row['epochs']:.1f}",
            f"{row['epochs_incl_analysis']:.1f}",
            str(row["models"]),
            str(row["chips"]),
            str(row["unsalvageable"]),
        ]
        for row, difference in zip(comparison.rows, comparison.differences, strict=True)
    ]


def _interval(difference: Difference | None, unit: float) -> str:
    if difference is None:
        return "-"
    mean, low, high = (unit * v for v in (difference.mean, difference.low, difference.high))
    mark = "*" if difference.shown else ""
    return f"{mean:+.3g} [{low:+.3g}, {high:+.3g}]{mark}"


def compare_figures(comparison: Comparison) -> dict[str, Any]:
    """Draw cost, resilience maps and chips of all runs in common figures."""
    palette = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
    colors = [palette[index % len(palette)] for index in range(len(comparison.runs))]
    named = list(zip(comparison.names, comparison.runs, colors, strict=True))
    figures = {
        "cost": costs_side_by_side(named),
        "chips": chips_side_by_side(named),
    }
    if any(run.map for run in comparison.runs):
        figures["map"] = maps_side_by_side(named)
    return figures


def without_map(comparison: Comparison) -> list[str]:
    """Name the runs that needed no resilience map."""
    named = zip(comparison.names, comparison.runs, strict=True)
    return [name for name, run in named if run.map is None]
