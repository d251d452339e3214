"""Draw fleets: one chip of each, and what a fleet is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from efat.hardware import Fleet
from efat.hardware.fleets import FleetSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAULTY, HEALTHY, INK = "#b3261e", "#eef1f4", "#334155"


def draw_chips(fleets: Mapping[str, Fleet], columns: int = 4) -> Figure:
    """Draw the first chip of each fleet, titled by its name."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    rows = math.ceil(len(fleets) / columns)
    figure = Figure(figsize=(2.4 * columns, 2.75 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (name, fleet) in zip(axes, fleets.items(), strict=False):
        fault_map = fleet.chips[0].fault_map
        colours = ListedColormap([HEALTHY, FAULTY])
        axis.imshow(fault_map.faulty, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(f"{name}\n{fault_map.fault_rate:.1%} faulty", fontsize=9, color=INK)
    return figure


def draw_summary(fleet: Fleet, summary: FleetSummary) -> Figure:
    """Draw the spread of fault rates over chips and how often each PE is faulty."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_rates(left, fleet, summary)
    often = np.zeros((summary.rows, summary.cols))
    for chip in fleet:
        often += chip.fault_map.faulty
    image = right.imshow(
        100 * often / summary.chips, cmap="magma_r", vmin=0, interpolation="nearest"
    )
    right.set(title="how often each PE is faulty", xlabel="column", ylabel="row")
    figure.colorbar(image, ax=right, label="% of chips")
    return figure


def _draw_rates(axis: Axes, fleet: Fleet, summary: FleetSummary) -> None:
    rates = [100 * chip.fault_map.fault_rate for chip in fleet]
    axis.hist(rates, bins=min(30, max(5, len(rates) // 5)), color=INK, alpha=0.85)
    axis.axvline(100 * summary.rate_mean, color=FAULTY, label=f"mean {summary.rate_mean:.2%}")
    lost = summary.unsalvageable
    axis.set(
        title=f"{summary.chips} chips{'' if lost is None else f', {len(lost)} unsalvageable'}; "
        f"overlap {summary.overlap_mean:.3f} (chance {summary.overlap_by_chance:.3f})",
        xlabel="faulty PEs, %",
        ylabel="chips",
    )
    axis.title.set_fontsize(10)
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
