"""A plan to look at: its groups, how they came about, what merging saved, who overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram

from efat.chips import Chip
from efat.planning.base import Plan
from efat.planning.cost import union_counts

MOST_BARS = 60
"""Groups that are drawn; further ones are counted in the title."""
MOST_LEAVES = 60
"""Leaves of the dendrogram; more are folded into their subtrees."""
MOST_CHIPS = 300
"""Rows of the overlap matrix; a larger fleet is sub-sampled evenly."""


def draw_groups(plan: Plan, chips: Sequence[Chip]) -> Figure:
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
    top.margins(y=0.12)
    top.set_ylabel("fault rate of the fused map, %")
    left_out = len(plan.groups) - len(shown)
    top.set_title(_title(plan) + (f"; {left_out} cheaper groups not shown" if left_out else ""))
    bottom.bar(range(len(shown)), [g.amount_steps for g in shown], color="#5d5d5d", width=0.8)
    bottom.set_ylabel("amount, steps")
    bottom.set_xlabel("group, dearest first")
    return figure


def draw_history(plan: Plan) -> Figure:
    """Draw the merges as a dendrogram; the height tells how many merges had been made by then.

    Groups of the plan are the trees that the upper edge of the picture cuts off.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
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


def draw_rewards(plan: Plan) -> Figure:
    """Draw the reward of each merge and how the price came down with it."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    rewards = [merge.reward for merge in plan.merges]
    steps = np.arange(1, len(rewards) + 1)
    axes.bar(steps, rewards, color="#3b6ea5", width=0.8 if len(rewards) < 100 else 1.0)
    axes.set_xlabel("merge")
    axes.set_ylabel("reward, price units", color="#3b6ea5")
    price = axes.twinx()
    price.plot(
        np.arange(len(rewards) + 1),
        plan.price + sum(rewards) - np.concatenate([[0.0], np.cumsum(rewards)]),
        color="#b5452c",
    )
    price.set_ylim(bottom=0)
    price.set_ylabel("price of the plan so far", color="#b5452c")
    axes.set_title(_title(plan))
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
    for place in np.flatnonzero(np.diff([group for group, _ in named])):
        axes.axhline(place + 0.5, color="white", linewidth=0.4)
        axes.axvline(place + 0.5, color="white", linewidth=0.4)
    figure.colorbar(image, label="shared faults / faults of the smaller map")
    sampled = f", every {step}th chip" if step > 1 else ""
    axes.set_title(f"Overlaps, chips ordered by group{sampled}")
    axes.set_xlabel("chip")
    axes.set_ylabel("chip")
    return figure


def _title(plan: Plan) -> str:
    return (
        f"{len(plan.chip_names)} chips in {len(plan.groups)} groups, "
        f"price {plan.price:.0f}; no plan saves more than a further {plan.gap:.1%}"
    )
