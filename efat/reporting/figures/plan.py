"""Draw a plan: its groups, their merges, what merging saved, and the overlaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.cluster.hierarchy import dendrogram

from efat.hardware import Chip
from efat.planning import Plan, union_counts
from efat.reporting.sentences import gap_note

MOST_BARS = 60
"""Groups that are drawn; further ones are counted in the title."""
MOST_LEAVES = 120
"""Leaves of the dendrogram; more are folded into their subtrees."""
NAMED_CHIPS = 50
"""Chips up to which the overlap matrix names its rows."""
MOST_CHIPS = 300
"""Rows of the overlap matrix; a larger fleet is sub-sampled evenly."""


def draw_groups(plan: Plan, chips: Sequence[Chip], steps_per_epoch: float) -> Figure:
    """Draw groups as bars of stacked members, with the fused rate and the amount.

    A member adds to its bar only the faults that those below it do not have, so the height is the
    fused rate; the number above a bar is how many chips it serves.
    """
    maps = {chip.chip_id: chip.fault_map for chip in chips}
    figure = Figure(figsize=(10, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    shown = plan.groups[:MOST_BARS]
    for x, group in enumerate(shown):
        order = sorted(group.members, key=lambda name: (-maps[name].fault_count, name))
        grown = np.bitwise_or.accumulate(np.stack([maps[name].words for name in order]), axis=0)
        heights = np.bitwise_count(grown).sum(axis=1) / (group.fused.rows * group.fused.cols)
        shades = ("#3b6ea5", "#9dbbd9")
        for i, (low, high) in enumerate(zip([0.0, *heights], heights, strict=False)):
            top.bar(x, 100 * (high - low), bottom=100 * low, color=shades[i % 2], width=0.8)
        top.text(x, 100 * heights[-1], str(len(order)), ha="center", va="bottom", fontsize=7)
    highest = max((100 * group.fused.fault_rate for group in shown), default=1.0)
    top.set_ylim(0, 1.12 * (highest or 1.0))  # margins do not hold where a member adds nothing
    top.set_ylabel("fault rate of the fused map, %\n(a stripe: what one more chip adds)")
    left_out = len(plan.groups) - len(shown)
    top.set_title(
        _title(plan, steps_per_epoch)
        + (f"; {left_out} cheaper groups not shown" if left_out else "")
    )
    amounts = [
        g.amount_steps / steps_per_epoch if g.amount_steps < math.inf else 0.0 for g in shown
    ]
    if not any(group.amount_steps for group in shown):
        bottom.text(0.5, 0.5, "no group needs retraining", ha="center", transform=bottom.transAxes)
        bottom.set_yticks([0])
    bottom.bar(range(len(shown)), amounts, color="#5d5d5d", width=0.8)
    for x, group in enumerate(shown):
        if math.isinf(group.amount_steps):
            bottom.text(x, 0, "beyond the resilience map", rotation=90, ha="center", fontsize=7)
    bottom.set_ylabel("retraining (epochs)")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("group")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def draw_history(plan: Plan) -> Figure:
    """Draw the merges as a dendrogram; the height tells how many merges had been made by then.

    Groups of the plan are the trees that the upper edge of the picture cuts off.
    """
    leaves = min(len(plan.chip_names), MOST_LEAVES)
    figure = Figure(figsize=(max(8.0, 0.15 * leaves), 5), layout="constrained")
    axes = figure.subplots()
    if not plan.merges:
        axes.text(0.5, 0.5, "no chips were merged", ha="center", va="center")
        axes.set_axis_off()
        return figure
    linkage = _linkage(plan)
    roots = float(len(plan.merges))
    names = list(plan.chip_names)
    fold: dict[str, Any] = {}
    if len(names) > MOST_LEAVES:
        fold = {"truncate_mode": "lastp", "p": MOST_LEAVES, "show_leaf_counts": True}
    dendrogram(linkage, labels=names, ax=axes, color_threshold=roots + 0.5, **fold)
    axes.tick_params(axis="x", labelrotation=90, labelsize=7)
    axes.set_ylabel("merges made when joined")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, roots + 1)
    axes.set_xlabel("chips (in brackets: how many are folded into one leaf)" if fold else "chips")
    axes.set_title(f"How {len(names)} chips became {len(plan.groups)} groups")
    return figure


def _linkage(plan: Plan) -> Any:
    """Return the merges as scipy counts them, groups joined above the picture's edge."""
    chips = len(plan.chip_names)
    sizes, live = [1] * chips, dict.fromkeys(range(chips))
    rows: list[list[float]] = []

    def join(left: int, right: int, height: float) -> None:
        rows.append([left, right, height, sizes[left] + sizes[right]])
        sizes.append(sizes[left] + sizes[right])
        del live[left], live[right]
        live[len(sizes) - 1] = None

    for step, merge in enumerate(plan.merges, start=1):
        join(merge.left, merge.right, float(step))
    while len(live) > 1:
        left, right, *_ = live
        join(left, right, len(plan.merges) + 2.0)
    return np.array(rows)


def draw_rewards(plan: Plan, steps_per_epoch: float) -> Figure:
    """Draw the reward of each merge and how the price came down with it."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    unit, name = _unit_of_price(plan, steps_per_epoch)
    rewards = [merge.reward / unit if merge.reward > -math.inf else 0.0 for merge in plan.merges]
    steps = np.arange(1, len(rewards) + 1)
    axes.bar(steps, rewards, color="#3b6ea5", width=0.8 if len(rewards) < 100 else 1.0)
    axes.set_xlabel("merge")
    axes.set_ylabel(f"saved by the merge ({name})", color="#3b6ea5")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(_title(plan, steps_per_epoch), fontsize=10)
    if plan.price < math.inf:
        price = axes.twinx()
        prices = plan.price / unit + sum(rewards) - np.concatenate([[0.0], np.cumsum(rewards)])
        price.plot(np.arange(len(rewards) + 1), prices, color="#b5452c")
        price.set_ylim(bottom=0)
        price.set_ylabel(f"the plan so far ({name})", color="#b5452c")
    return figure


def draw_overlaps(plan: Plan, chips: Sequence[Chip]) -> Figure:
    """Draw how much of each chip's faults another shares, chips ordered by group."""
    maps = {chip.chip_id: chip.fault_map for chip in chips}
    named = [(g, name) for g, group in enumerate(plan.groups) for name in group.members]
    step = -(-len(named) // MOST_CHIPS)
    named = named[::step]
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    if not named:
        axes.text(0.5, 0.5, "no chip is salvageable", ha="center", va="center")
        axes.set_axis_off()
        return figure
    words = np.stack([maps[name].words for _, name in named])
    counts = np.array([maps[name].fault_count for _, name in named])
    shared = np.stack(
        [counts + counts[i] - union_counts(words[i], words) for i in range(len(words))]
    )
    shares = shared / np.maximum(np.minimum(counts[:, None], counts), 1)
    off_diagonal = shares[~np.eye(len(shares), dtype=bool)]
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=max(off_diagonal.max(initial=0), 1e-9))
    for group in sorted({group for group, _ in named}):
        rows = [row for row, (other, _) in enumerate(named) if other == group]
        corner, size = (rows[0] - 0.5, rows[0] - 0.5), len(rows)
        axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor="white", linewidth=1.2))
    figure.colorbar(image, label="shared faults / faults of the smaller map")
    sampled = f", every {step}th chip" if step > 1 else ""
    axes.set_title(f"Overlaps, chips ordered by group (white frames){sampled}")
    if len(named) <= NAMED_CHIPS:
        axes.set_yticks(range(len(named)), [name for _, name in named], fontsize=6)
        axes.set_xticks(range(len(named)), [name for _, name in named], fontsize=6, rotation=90)
    else:
        axes.set_xlabel("chip, by place in the order of groups")
        axes.set_ylabel("chip, by place in the order of groups")
    return figure


def _unit_of_price(plan: Plan, steps_per_epoch: float) -> tuple[float, str]:
    """Return what prices are divided by, and the unit they then have."""
    rules = plan.rules
    if rules.price_group and not (rules.price_step and plan.total_steps):
        return rules.price_group, "models"  # nothing else has a price
    unit = (rules.price_step or 1.0) * steps_per_epoch
    if not rules.price_group:
        return unit, "epochs"
    return unit, f"epochs; a model counts {rules.price_group / unit:.2g}"


def _title(plan: Plan, steps_per_epoch: float) -> str:
    if math.isinf(plan.price):
        return f"{len(plan.chip_names)} chips in {len(plan.groups)} groups, some beyond the map"
    more = f", {len(plan.unsalvageable)} more unsalvageable" if plan.unsalvageable else ""
    return (
        f"{len(plan.chip_names)} chips in {len(plan.groups)} groups{more}; "
        f"{plan.total_steps / steps_per_epoch:.1f} epochs; {gap_note(plan.gap)}"
    )
