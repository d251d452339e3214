"""Draw the figures of docs/emulation.md and docs/concepts.md: python docs/figures/make.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from efat.hardware import FaultMap, SystolicArray, WeightLayout, pruned_weights
from efat.hardware.fleets import (
    block_fleet,
    clustered_fleet,
    line_fleet,
    mixture_fleet,
    spread_fleet,
    summarise,
    systematic_fleet,
    uniform_fleet,
)
from efat.reporting.figures.fleet import draw_chips, draw_summary

HERE = Path(__file__).parent
INK, FAULT, SOFT, LINE = "#1f2937", "#b3261e", "#e8edf3", "#94a3b8"
HELD, MOVED, SUM = "#0f766e", "#1d4ed8", "#b45309"
DPI = 160


def save(figure: Figure, name: str) -> None:
    """Write a figure beside this script."""
    figure.savefig(HERE / f"{name}.png", dpi=DPI, facecolor="white")


def arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """Draw a straight arrow."""
    axis.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=colour, lw=1.4)
    )


def draw_array(axis: Axes, title: str, held: str, left: str, top: str | None, bottom: bool) -> None:
    """Draw a 3x3 array: what is held, what streams in, where results leave."""
    for r in range(3):
        for c in range(3):
            faulty = (r, c) == (1, 1)
            box = FancyBboxPatch(
                (c, 2 - r), 0.62, 0.62, boxstyle="round,pad=0.02",
                fc="#fbe9e7" if faulty else SOFT, ec=FAULT if faulty else LINE, lw=1.3,
            )  # fmt: skip
            axis.add_patch(box)
            text = held.format(r=r, c=c)
            axis.text(c + 0.31, 2.31 - r, text, ha="center", va="center", fontsize=8,
                      color=FAULT if faulty else HELD)  # fmt: skip
            if c < 2:
                arrow(axis, (c + 0.64, 2.42 - r), (c + 0.98, 2.42 - r), MOVED)
            if r < 2:
                arrow(axis, (c + 0.2, 1.98 - r), (c + 0.2, 1.64 - r), SUM if bottom else MOVED)
    for r in range(3):
        arrow(axis, (-0.42, 2.42 - r), (-0.02, 2.42 - r), MOVED)
        axis.text(
            -0.47, 2.42 - r, left.format(r=r), ha="right", va="center", fontsize=8, color=MOVED
        )
    for c in range(3):
        if top:
            arrow(axis, (c + 0.2, 3.05), (c + 0.2, 2.66), MOVED)
            axis.text(c + 0.2, 3.12, top.format(c=c), ha="center", fontsize=8, color=MOVED)
        if bottom:
            arrow(axis, (c + 0.2, -0.02), (c + 0.2, -0.36), SUM)
    if bottom:
        axis.text(1.31, -0.62, "partial sums go down and leave", ha="center", fontsize=8, color=SUM)
    else:
        axis.text(1.31, -0.62, "results stay, then leave", ha="center", fontsize=8, color=HELD)
    axis.set_title(title, fontsize=10, color=INK)
    axis.set(xlim=(-1.3, 3.1), ylim=(-0.8, 3.35), aspect="equal")
    axis.set_axis_off()


def dataflows() -> None:
    """Draw what stays in a PE and what moves, for each dataflow."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    draw_array(axes[0], "ws: weights stay", "W[{r},{c}]", "X[n,{r}]", None, bottom=True)
    draw_array(axes[1], "os: outputs stay", "Y[{r},{c}]", "X[{r},k]", "W[k,{c}]", bottom=False)
    draw_array(axes[2], "is: inputs stay", "X[{c},{r}]", "W[{r},m]", None, bottom=True)
    save(figure, "dataflows")


def grid(axis: Axes, bad: np.ndarray, title: str, xlabel: str) -> None:
    """Draw a matrix with its bad cells marked."""
    rows, cols = bad.shape
    for r, c in np.ndindex(rows, cols):
        colour = FAULT if bad[r, c] else SOFT
        axis.add_patch(Rectangle((c, r), 1, 1, fc=colour, ec="white", lw=1.2))
    axis.set(xlim=(0, cols), ylim=(rows, 0), aspect="equal", xlabel=xlabel)
    axis.set_xticks(np.arange(cols) + 0.5, np.arange(cols), fontsize=8)
    axis.set_yticks(np.arange(rows) + 0.5, np.arange(rows), fontsize=8)
    axis.tick_params(length=0)
    axis.set_title(title, fontsize=10, color=INK)
    axis.spines[:].set_visible(False)


def mapping() -> None:
    """Draw which weights of a 4-filter, 2-channel 3x3 convolution two faulty PEs prune."""
    faulty = np.zeros((8, 3), bool)
    faulty[1, 1] = faulty[5, 0] = True
    layout = WeightLayout((4, 2, 3, 3))
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.subplots(1, 4)
    grid(axes[0], faulty, "the array: 8x3 PEs\n2 of 24 faulty", "column")
    axes[0].set_ylabel("row")
    taps = [f"{i}, {y}, {x}" for i in range(2) for y in range(3) for x in range(3)]
    orders = ("im2col", "im2col_spatial_first", "channel")
    for axis, order in zip(axes[1:], orders, strict=True):
        pruned = pruned_weights(layout, SystolicArray(8, 3, order), FaultMap(faulty))
        title = f"{order}\n{pruned.sum()} of {pruned.size} weights pruned"
        grid(axis, pruned.reshape(4, 18).T, title, "output channel o")
        axis.set_yticks(np.arange(18) + 0.5, taps, fontsize=8)
    axes[1].set_ylabel("i, y, x of W[o, i, y, x]")
    save(figure, "mapping")


def pe() -> None:
    """Draw one PE with its registers, and where a bit can be stuck."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for x, y, name, bits, colour in (
        (0.6, 2.0, "input register", "int8: bits 0-7", MOVED),
        (0.6, 0.5, "weight register", "int8: bits 0-7", HELD),
        (4.0, 1.25, "product", "int16: bits 0-15", INK),
        (7.0, 1.25, "partial sum", "int32: bits 0-31", SUM),
    ):
        box = FancyBboxPatch(
            (x, y), 1.8, 0.75, boxstyle="round,pad=0.04", fc=SOFT, ec=colour, lw=1.5
        )
        axis.add_patch(box)
        axis.text(x + 0.9, y + 0.47, name, ha="center", va="center", fontsize=9, color=colour)
        axis.text(x + 0.9, y + 0.18, bits, ha="center", va="center", fontsize=7.5, color=INK)
    for x, sign in ((3.15, r"$\times$"), (6.4, "$+$")):
        axis.text(x, 1.62, sign, ha="center", va="center", fontsize=15, color=INK,
                  bbox={"boxstyle": "circle,pad=0.18", "fc": "white", "ec": LINE})  # fmt: skip
    arrow(axis, (2.45, 2.3), (3.05, 1.85), MOVED)
    arrow(axis, (2.45, 0.95), (3.05, 1.4), HELD)
    arrow(axis, (3.4, 1.62), (3.95, 1.62), INK)
    arrow(axis, (5.85, 1.62), (6.17, 1.62), INK)
    arrow(axis, (6.63, 1.62), (6.95, 1.62), SUM)
    arrow(axis, (6.4, 3.3), (6.4, 1.88), SUM)
    axis.text(6.5, 3.15, "partial sum from above", fontsize=8, color=SUM, va="center")
    arrow(axis, (7.9, 1.2), (7.9, 0.0), SUM)
    axis.text(8.0, 0.15, "to the PE below", fontsize=8, color=SUM, va="center")
    arrow(axis, (-0.3, 2.38), (0.55, 2.38), MOVED)
    axis.text(-0.35, 2.38, "from the left", fontsize=8, color=MOVED, ha="right", va="center")
    arrow(axis, (1.5, 2.8), (1.5, 3.3), MOVED)
    axis.text(1.6, 3.15, "to the PE on the right", fontsize=8, color=MOVED, va="center")
    axis.plot([6.4, 9.3, 9.3], [2.55, 2.55, 0.5], color=FAULT, lw=1.4, ls="--")
    arrow(axis, (9.32, 0.5), (7.95, 0.5), FAULT)
    axis.text(9.2, 2.7, "bypass", fontsize=9, color=FAULT, ha="right")
    axis.set(xlim=(-1.4, 9.6), ylim=(-0.15, 3.45))
    axis.set_axis_off()
    save(figure, "pe")


def fleets() -> None:
    """Draw one chip of each generator, and the summary of a fleet."""
    array = SystolicArray(64, 64)
    half = partial(uniform_fleet, fault_rate=0.02)
    generators = {
        "uniform (exact count)": partial(uniform_fleet, fault_rate=0.05),
        "uniform (Bernoulli)": partial(uniform_fleet, fault_rate=0.05, exact=False),
        "spread (Gamma-Poisson)": partial(spread_fleet, fault_rate=0.05, alpha=0.5),
        "clustered (Thomas)": partial(
            clustered_fleet, fault_rate=0.05, cluster_size=20, radius=2.5
        ),
        "clustered (blocks)": partial(
            block_fleet, fault_rate=0.05, alpha=0.3, block_rows=16, block_cols=16
        ),
        "rows and columns": partial(line_fleet, row_rate=0.03, col_rate=0.03),
        "systematic (shared sites)": partial(
            systematic_fleet, site_rate=0.04, presence=0.9, fault_rate=0.01
        ),
        "mixture": partial(
            mixture_fleet,
            parts=[half, partial(line_fleet, row_rate=0.03, col_rate=0)],
            weights=[1, 3],
        ),
    }
    save(draw_chips({name: make(array, 1, 1) for name, make in generators.items()}), "fleets")
    fleet = generators["systematic (shared sites)"](array, 1, 200)
    save(draw_summary(fleet, summarise(fleet)), "fleet_summary")


def fusion() -> None:
    """Draw two chips and their fused fault map; colours say which chip has a fault."""
    array = SystolicArray(8, 8)
    first, second = (chip.fault_map.faulty for chip in uniform_fleet(array, 5, 2, (0.08, 0.12)))
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    whose = (("chip A", first, ~first & False), ("chip B", ~second & False, second))
    panels = (*whose, ("fused (dark: faulty on both)", first, second))
    for axis, (name, a, b) in zip(figure.subplots(1, 3), panels, strict=True):
        for r, c in np.ndindex(8, 8):
            colour = INK if a[r, c] and b[r, c] else MOVED if a[r, c] else SUM
            colour = colour if a[r, c] or b[r, c] else SOFT
            axis.add_patch(Rectangle((c, r), 1, 1, fc=colour, ec="white", lw=1.2))
        count = int((a | b).sum())
        axis.set_title(f"{name}\n{count} of 64 PEs faulty ({count / 64:.0%})", fontsize=10)
        axis.set(xlim=(0, 8), ylim=(8, 0), aspect="equal")
        axis.set_axis_off()
    save(figure, "fusion")


def reading() -> None:
    """Draw (not measured) how curves become a resilience map, and the amounts it gives chips."""
    steps, target = np.linspace(0, 3, 100), 0.95
    rates, speeds = (0.05, 0.15, 0.3), (6.0, 2.6, 1.5)
    needed = [-np.log((0.985 - target) / (0.2 + rate)) / speed
              for rate, speed in zip(rates, speeds, strict=True)]  # fmt: skip
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for rate, speed, amount, colour in zip(rates, speeds, needed, (HELD, MOVED, SUM), strict=True):
        left.plot(steps, 100 * (0.985 - (0.2 + rate) * np.exp(-speed * steps)), color=colour,
                  label=f"{rate:.0%} of the PEs faulty")  # fmt: skip
        left.plot([amount, amount], [60, 100 * target], color=colour, ls=":")
        left.plot([amount], [100 * target], "o", color=colour)
    left.axhline(100 * target, color=FAULT, ls="--", label="target accuracy")
    left.set(xlabel="retraining amount (epochs)", ylabel="validation accuracy (%)",
             ylim=(60, 100), title="curves")  # fmt: skip
    left.legend(fontsize=8, loc="lower right")
    _draw_amounts(right, rates, needed)
    save(figure, "reading")


def _draw_amounts(axis: Axes, rates: Sequence[float], needed: Sequence[float]) -> None:
    percent = [0.0, *(100 * rate for rate in rates)]
    axis.plot(percent, [0, *needed], color=INK, label="resilience map")
    for rate, amount, colour in zip(rates, needed, (HELD, MOVED, SUM), strict=True):
        axis.plot([100 * rate], [amount], "o", color=colour, zorder=3)
    axis.axvspan(percent[-1], 36, color=FAULT, alpha=0.12, label="unsalvageable")
    for name, place in (("chip A", 7.8), ("chip B", 12.5), ("A and B, fused", 18.75)):
        amount = float(np.interp(place, percent, [0, *needed]))
        axis.plot([place, place, 0], [0, amount, amount], color=LINE, lw=1)
        text = f"{name}: {amount:.2f}"
        axis.annotate(
            text, (place, amount), xytext=(6, -12), textcoords="offset points", fontsize=8
        )
    axis.set(xlabel="faulty PEs (%)", ylabel="retraining amount (epochs)", xlim=(0, 36),
             ylim=(0, 1.25 * needed[-1]),
             title="resilience map and retraining amounts")  # fmt: skip
    axis.legend(fontsize=8, loc="upper left")


if __name__ == "__main__":
    fusion()
    reading()
    dataflows()
    mapping()
    pe()
    fleets()
