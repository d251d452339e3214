"""The report of a run as one page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

import efat.reporting.html.charts as charts
import efat.reporting.html.resilience_charts as resilience_charts
from efat.campaign.run_result import RunResult
from efat.io import write_bytes
from efat.reporting.html.captions import figures_of
from efat.reporting.html.report_markdown import strategy_head, strategy_table
from efat.reporting.provenance import redact
from efat.reporting.sentences import headline, summary

MAX_SIDE = 64
"""Rows or columns of a fault map that is shown PE by PE; a larger one is shown in blocks."""
BLOCKS = 32
"""Blocks a side of such a map."""
MAPS_BYTES = 1_200_000
"""Of fault maps in a page, before they are encoded; chips that need the most come first."""


CHARTS = {
    "cost": charts.cost_chart,
    "map": resilience_charts.map_chart,
    "curves": resilience_charts.curves_chart,
    "groups": charts.plan_chart,
    "chips": charts.chips_chart,
    "layers": charts.layers_chart,
}


def chip_columns(run: RunResult) -> list[tuple[str, str, str]]:
    """Return column, heading and kind of the table of chips."""
    planned = [
        ("group_size", "chips on it", "count"),
        ("fused_fault_rate", "fused fault rate", "share"),
        ("amount_epochs", "epochs planned", "number"),
    ]
    return [
        ("chip_id", "chip", "text"),
        ("fault_rate", "faulty PEs", "share"),
        ("group", "model", "text"),
        *([] if run.until_met else planned),
        ("trained_epochs", "epochs trained", "number"),
        ("test_before", "test before", "metric"),
        ("test_after", "test after", "metric"),
        ("val_after", "val. after", "metric"),
        ("test_low", f"lower end ({run.outcome.confidence:.0%})", "metric"),
        ("status", "status on test", "text"),
        ("pass_test", "pass on test", "flag"),
    ]


def write_page(run: RunResult, path: Path) -> None:
    """Write `report.html`."""
    html = template("report.html.j2").render(_values(run))
    write_bytes(path, html.encode())


def _values(run: RunResult) -> dict[str, Any]:
    return {
        "run": run,
        "title": run.name,
        "confidence": run.outcome.confidence,
        "headline": headline(run),
        "sentences": summary(run),
        "head": strategy_head(run),
        "strategies": strategy_table(run),
        "glosses": "; ".join(
            f"{each.label}: {each.description}" for each in run.strategies if each.description
        ),
        "figures": figures_of(run),
        "rates": sorted({curve.fault_rate for curve in run.curves}),
        "made": run.made_lines,
        "stages": _stages(run),
        "config": redact(run.config),
        "data": packed(json.dumps(page_data(run), allow_nan=False).encode()),
        "plotly": plotly_script(),
    }


def page_data(run: RunResult) -> dict[str, Any]:
    """Return what the page's script draws: figures, chips, fault maps."""
    figures = {name: CHARTS[name](run) for name, _, _ in figures_of(run)}
    columns = chip_columns(run)
    rows = [asdict(c) | {"trained_epochs": run.epochs(c.trained_steps)} for c in run.chips]
    return {
        "figures": figures,
        "share": run.metric.is_share,
        "columns": columns,
        "chips": [[row[name] for name, _, _ in columns] + [row["salvageable"]] for row in rows],
        "maps": _maps(run),
    }


def _maps(run: RunResult) -> dict[str, Any]:
    """Encode fault maps of groups and chips, as many as fit: chips on large groups first."""
    order = {row.chip_id: -row.group_size for row in run.chips}
    chips = sorted(run.maps, key=lambda chip: order[chip.chip_id])
    encoded: dict[str, str] = {}
    room = MAPS_BYTES
    for chip in (*run.fused, *chips):
        body = _map_bytes(chip.fault_map.faulty)
        room -= len(body)
        if room < 0:
            break
        encoded[chip.chip_id] = base64.b64encode(body).decode()
    rows, cols = run.maps[0].fault_map.shape
    exact = max(rows, cols) <= MAX_SIDE
    shown = (rows, cols) if exact else (min(rows, BLOCKS), min(cols, BLOCKS))
    return {"rows": shown[0], "cols": shown[1], "exact": exact, "maps": encoded}


def _map_bytes(faulty: NDArray[np.bool_]) -> bytes:
    """Pack a small map bit by bit; of a large one, the share of faulty PEs in blocks, of 255."""
    if max(faulty.shape) <= MAX_SIDE:
        return np.packbits(faulty).tobytes()
    parts = [np.array_split(np.arange(n), min(n, BLOCKS)) for n in faulty.shape]
    starts = [np.array([part[0] for part in axis]) for axis in parts]
    sums = np.add.reduceat(np.add.reduceat(faulty.astype(float), starts[0], 0), starts[1], 1)
    tall, wide = ([len(part) for part in axis] for axis in parts)
    return bytes(np.rint(255 * sums / np.outer(tall, wide)).astype(np.uint8))


def _stages(run: RunResult) -> list[tuple[str, int, int, float]]:
    """Count units and seconds by stage: name, computed in this run, found in the store, seconds."""
    names = dict.fromkeys(row["stage"] for row in run.units)
    states = Counter((row["stage"], row["state"]) for row in run.units)
    return [
        (
            name,
            states[name, "computed"],
            states[name, "found"],
            sum(row["seconds"] or 0 for row in run.units if row["stage"] == name),
        )
        for name in names
    ]


def packed(data: bytes) -> str:
    """Compress for a page; its script takes it apart with the browser's `DecompressionStream`."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


@cache
def plotly_script() -> str:
    """Return Plotly's script, packed: 4.8 MB become 2 MB."""
    from plotly.offline import get_plotlyjs

    return packed(get_plotlyjs().encode())


@cache
def template(name: str) -> jinja2.Template:
    """Return a page's template; whatever a user named is escaped in it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
