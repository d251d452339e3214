"""Draw what the rows say, and the plan of one fleet."""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from efat.planning import Hierarchical
from efat.reporting.figures.plan import draw_groups, draw_history, draw_overlaps, draw_rewards
from experiments.planners.run import PLANNERS
from experiments.planners.stream import STREAMED
from experiments.records import read, where
from tests.planning.fleets import fleet, table_cost

HERE = Path(__file__).parent


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    quality_figure()
    bounds_figure()
    stream_figure()
    chips, cost = fleet("clustered", 100, 64), table_cost("floored", 64)
    plan = Hierarchical()(chips, cost, 0)
    # Curves and amounts are made up, and a step may as well be an epoch.
    draw_groups(plan, chips, 1).savefig(HERE / "plan_groups.png", dpi=90)
    draw_history(plan).savefig(HERE / "plan_history.png", dpi=90)
    draw_rewards(plan, 1).savefig(HERE / "plan_rewards.png", dpi=90)
    draw_overlaps(plan, chips).savefig(HERE / "plan_overlaps.png", dpi=90)


def quality_figure() -> None:
    """Draw the price of each planner as a share of the price of a model per chip."""
    rows = read(HERE / "results.csv")
    sizes = sorted({int(row["chips"]) for row in rows})
    cases = list(dict.fromkeys((row["kind"], row["curve"]) for row in rows))
    figure = Figure(figsize=(11, 3.6 * len(sizes)), layout="constrained")
    for chips, axes in zip(sizes, figure.subplots(len(sizes), 1), strict=True):
        for i, name in enumerate(PLANNERS):
            heights = []
            for kind, curve in cases:
                key = {"chips": str(chips), "kind": kind, "curve": curve, "planner": name}
                ran = where(rows, **key)
                share = float(ran[0]["price"]) / float(ran[0]["individual"]) if ran else 0.0
                heights.append(100 * share)
            at = [x + 0.16 * (i - 2) for x in range(len(cases))]
            axes.bar(at, heights, 0.16, label=name, color=f"C{i}")
        axes.set_xticks(range(len(cases)), [f"{k}\n{c}" for k, c in cases], fontsize=7)
        axes.set_ylabel("% of individual")
        axes.set_title(f"{chips} chips, 256x256")
        axes.legend(ncols=5, fontsize=7, loc="upper right")
        axes.set_ylim(0, 125)
    figure.savefig(HERE / "quality.png", dpi=110)


def bounds_figure() -> None:
    """Draw the proved bound of each case as a share of the price of `min_cost`, a row per size."""
    rows = [row for row in read(HERE / "results.csv") if row["bound"]]
    sizes = sorted({int(row["chips"]) for row in rows})
    figure = Figure(figsize=(9, 2.8 * len(sizes)), layout="constrained")
    for chips, axes in zip(sizes, figure.subplots(len(sizes), 1), strict=True):
        shown = where(rows, chips=str(chips))
        shares = [100 * float(row["bound"]) / float(row["price"]) for row in shown]
        axes.bar(range(len(shown)), shares, 0.6, color="#b5452c")
        for x, share in enumerate(shares):
            axes.text(x, share + 2, f"{share:.0f} %", ha="center", fontsize=8)
        axes.axhline(100, color="#3b6ea5", label="price of min_cost")
        names = [f"{row['kind']}\n{row['curve']}" for row in shown]
        axes.set_xticks(range(len(shown)), names, fontsize=7)
        axes.set_ylabel("proved bound, %")
        axes.set_title(f"{chips:,} chips, 256x256")
        axes.set_ylim(0, 125)
        axes.legend(loc="upper right", fontsize=7)
    figure.savefig(HERE / "bounds.png", dpi=110)


def stream_figure() -> None:
    """Draw the share of chips served without retraining over the models kept."""
    rows = read(HERE / "stream.csv.gz")
    figure = Figure(figsize=(11, 8), layout="constrained")
    styles = {"0.0": "-", "1.0": "--", "2.0": "-.", "4.0": ":"}
    for line, known in zip(figure.subplots(2, 2), ("20", "200"), strict=True):
        for axes, side in zip(line, ("32", "256"), strict=True):
            for i, kind in enumerate(STREAMED):
                for widened, style in styles.items():
                    ran = where(rows, side=side, kind=kind, known=known, widened=widened)
                    label = kind if widened == "0.0" else f"{kind}, widened x{widened}"
                    models = [int(row["models"]) for row in ran]
                    served = [100 * int(row["covered"]) / int(row["arrived"]) for row in ran]
                    if ran:
                        axes.plot(models, served, style, color=f"C{i}", label=label)
            axes.set_title(f"{side}x{side} array, {known} chips known at the start")
            axes.set_xlabel("models kept")
            axes.set_ylabel("served without retraining, % of arrived")
            axes.legend(fontsize=6, ncols=2)
    figure.savefig(HERE / "stream.png", dpi=110)
