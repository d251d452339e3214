"""How good are the plans, and how many new chips need no retraining? Writes raw rows as CSV.

`python -m experiments.planning_study quality 100 FOLDER` compares planners on one fleet size, and
proves how far from the best possible the best plan is;
`... stream FOLDER` lets 1,000 chips arrive, also with models trained for more than is needed;
`... figures FOLDER` draws what the rows say.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from efat.hardware import Chip, FaultMap
from efat.planning import (
    CountCost,
    Greedy,
    Hierarchical,
    LibraryModel,
    LocalSearch,
    MinCost,
    Packing,
    assign,
    plan_library,
)
from efat.reporting.figures.plan import draw_groups, draw_history, draw_overlaps, draw_rewards
from experiments.planning_reach import plan_and_relaxation
from tests.planning.fleets import CURVES, KINDS, fleet, table_cost

SIDE = 256
STREAMED = (*KINDS, "few")
WIDENED = (1.0, 2.0, 4.0)
"""Most that a model trained for more than its chips may cost, over what they need."""
PLANNERS = {
    "greedy": Greedy(),
    "hierarchical": Hierarchical(),
    "local_search": LocalSearch(),
    "packing": Packing(),
    "min_cost": MinCost(),
}


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def quality(chips: int, folder: Path) -> None:
    """Run the planners on each kind and curve; `min_cost` proves its bound: minutes of CPU time."""
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        for curve in CURVES:
            maps, cost = fleet(kind, chips, SIDE), table_cost(curve, SIDE)
            individual = sum(cost(chip.fault_map) for chip in maps)
            for name, planner in PLANNERS.items():
                if chips > 500 and name not in ("greedy", "min_cost"):
                    continue  # `min_cost` runs them all
                started = time.process_time()
                relaxation: float | None = None
                if name == "min_cost":
                    plan, relaxation = plan_and_relaxation(maps, cost)
                else:
                    plan = planner(maps, cost, 0)
                row: dict[str, object] = {
                    "chips": chips,
                    "side": SIDE,
                    "kind": kind,
                    "curve": curve,
                    "planner": name,
                    "price": plan.price,
                    "bound": round(plan.bound, 3) if name == "min_cost" else "",
                    "gap": round(plan.gap, 5) if name == "min_cost" else "",
                    "relaxation": "" if relaxation is None else round(relaxation, 3),
                    "individual": individual,
                    "groups": len(plan.groups),
                    "cpu_seconds": round(time.process_time() - started, 2),
                    "seed": 0,
                }
                rows.append(row)
                print(*row.values(), flush=True)
            write(folder / f"results_{chips}.csv", rows)


def stream(folder: Path) -> None:
    """Plan the first chips, keep those models; 1,000 more arrive in batches of 20."""
    rows: list[dict[str, object]] = []
    for side, known, kind, widened in [
        *((s, k, kind, 0.0) for s in (32, 256) for k in (20, 200) for kind in STREAMED),
        *((s, 20, kind, w) for s in (32, 256) for w in WIDENED for kind in STREAMED),
    ]:
        rows += arrivals(side, known, kind, widened)
        print(rows[-1], flush=True)
        write(folder / "stream.csv", rows)


def arrivals(
    side: int, known: int, kind: str, widened: float, total: int = 1000
) -> list[dict[str, object]]:
    """Let chips arrive; return one row a batch, price and covered chips counted from the start.

    With `widened` above 0 each model is trained for a larger map than its chips need: see `widen`.
    """
    cost = table_cost("floored", side)
    chips = arriving(kind, known + total, side)
    seen = sum(chip.fault_map.faulty.astype(np.int64) for chip in chips[:known])
    library = plan_library(Hierarchical()(chips[:known], cost, 0), finished=False)
    library = finish(library, seen, cost, widened)
    rows: list[dict[str, object]] = []
    covered = lost = 0
    price = sum(cost(model.fused) for model in library)
    for start in range(known, known + total, 20):
        batch = chips[start : start + 20]
        found = assign(batch, library, cost)
        seen = seen + sum(chip.fault_map.faulty.astype(np.int64) for chip in batch)
        library = finish(found.library, seen, cost, widened)
        covered += sum(placed.how == "covered" for placed in found.placements)
        lost += len(found.unsalvageable)
        old = {model.name for model in found.library if model.finished}
        price += sum(cost(model.fused) for model in library if model.name not in old)
        rows.append(
            {
                "side": side,
                "kind": kind,
                "known": known,
                "widened": widened,
                "arrived": start + 20 - known,
                "models": len(library),
                "covered": covered,
                "price": price,
                "unsalvageable": lost,
            }
        )
    return rows


def arriving(kind: str, chips: int, side: int) -> list[Chip]:
    """Return the chips of a stream, known ones first; `few`: three faulty PEs a chip on average."""
    if kind != "few":
        return fleet(kind, chips, side, seed=5)
    rng = np.random.default_rng([5, side])
    maps = np.zeros((chips, side * side), dtype=bool)
    for grid in maps:
        grid[rng.choice(side * side, rng.poisson(3), replace=False)] = True
    return [Chip(f"c{i:05d}", FaultMap(m.reshape(side, side))) for i, m in enumerate(maps)]


def finish(
    library: Sequence[LibraryModel], seen: np.ndarray, cost: CountCost, widened: float
) -> tuple[LibraryModel, ...]:
    """Train the models that are not: from here on their map is fixed."""
    return tuple(
        model
        if model.finished
        else replace(model, fused=widen(model.fused, seen, cost, widened), finished=True)
        for model in library
    )


def widen(fused: FaultMap, seen: np.ndarray, cost: CountCost, widened: float) -> FaultMap:
    """Add PEs while the amount is at most `widened` times what it was: those that were faulty most
    often so far, then random ones.

    With 1 that costs nothing: the room under a step or the floor of the cost is used up.
    """
    if not widened:
        return fused
    most = int(np.searchsorted(cost.table, widened * cost(fused), side="right")) - 1
    jitter = np.random.default_rng(fused.fault_count).random(seen.size)
    order = np.lexsort((jitter, -seen.ravel()))
    fresh = order[~fused.faulty.ravel()[order]]
    faulty = fused.faulty.ravel().copy()
    faulty[fresh[: max(0, most - fused.fault_count)]] = True
    return FaultMap(faulty.reshape(seen.shape))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def figures(folder: Path) -> None:
    rows = [row for path in sorted(folder.glob("results_*.csv")) for row in read(path)]
    sizes = sorted({int(row["chips"]) for row in rows})
    figure = Figure(figsize=(11, 3.6 * len(sizes)), layout="constrained")
    for chips, axes in zip(sizes, figure.subplots(len(sizes), 1, squeeze=False)[:, 0], strict=True):
        cases = list(dict.fromkeys((r["kind"], r["curve"]) for r in rows))
        for i, name in enumerate(PLANNERS):
            heights = []
            for case in cases:
                picked = [
                    r for r in rows if int(r["chips"]) == chips and (r["kind"], r["curve"]) == case
                ]
                by_name = {r["planner"]: r for r in picked}
                if "min_cost" not in by_name:
                    heights.append(0.0)
                    continue
                best = by_name["min_cost"]
                value = by_name.get(name, {}).get("price", 0)
                heights.append(100 * float(value) / float(best["individual"]))
            at = [x + 0.16 * (i - 2) for x in range(len(cases))]
            axes.bar(at, heights, 0.16, label=name, color=f"C{i}")
        axes.set_xticks(range(len(cases)), [f"{k}\n{c}" for k, c in cases], fontsize=7)
        axes.set_ylabel("% of individual")
        axes.set_title(f"{chips} chips, 256x256")
        axes.legend(ncols=5, fontsize=7, loc="upper right")
        axes.set_ylim(0, 125)
    figure.savefig(folder / "quality.png", dpi=110)
    _stream_figure(folder)
    _bounds_figure(folder)
    chips, cost = fleet("clustered", 100, 64), table_cost("floored", 64)
    plan = Hierarchical()(chips, cost, 0)
    # Curves and amounts are made up, and a step may as well be an epoch.
    draw_groups(plan, chips, 1).savefig(folder / "plan_groups.png", dpi=90)
    draw_history(plan).savefig(folder / "plan_history.png", dpi=90)
    draw_rewards(plan, 1).savefig(folder / "plan_rewards.png", dpi=90)
    draw_overlaps(plan, chips).savefig(folder / "plan_overlaps.png", dpi=90)


def _bounds_figure(folder: Path) -> None:
    """Draw the proved bound of each case as a share of the price of `min_cost`, a row a size."""
    found = [row for path in sorted(folder.glob("results_*.csv")) for row in read(path)]
    rows = [row for row in found if row["bound"]]
    sizes = sorted({int(row["chips"]) for row in rows})
    figure = Figure(figsize=(9, 2.8 * len(sizes)), layout="constrained")
    for chips, axes in zip(sizes, figure.subplots(len(sizes), 1, squeeze=False)[:, 0], strict=True):
        shown = [row for row in rows if int(row["chips"]) == chips]
        shares = [100 * float(row["bound"]) / float(row["price"]) for row in shown]
        axes.bar(range(len(shown)), shares, 0.6, color="#b5452c")
        for x, share in enumerate(shares):
            axes.text(x, share + 2, f"{share:.0f} %", ha="center", fontsize=8)
        axes.axhline(100, color="#3b6ea5", label="price of best")
        names = [f"{row['kind']}\n{row['curve']}" for row in shown]
        axes.set_xticks(range(len(shown)), names, fontsize=7)
        axes.set_ylabel("proved bound, %")
        axes.set_title(f"{chips:,} chips, 256x256")
        axes.set_ylim(0, 125)
        axes.legend(loc="upper right", fontsize=7)
    figure.savefig(folder / "bounds.png", dpi=110)


def _stream_figure(folder: Path) -> None:
    rows = read(folder / "stream.csv")
    figure = Figure(figsize=(11, 8), layout="constrained")
    styles = {"0.0": "-", "1.0": "--", "2.0": "-.", "4.0": ":"}
    for line, known in zip(figure.subplots(2, 2), ("20", "200"), strict=True):
        for axes, side in zip(line, ("32", "256"), strict=True):
            for i, kind in enumerate(STREAMED):
                for widened, style in styles.items():
                    picked = [
                        r
                        for r in rows
                        if (r["side"], r["kind"], r["known"], r["widened"])
                        == (side, kind, known, widened)
                    ]
                    if picked:
                        axes.plot(
                            [int(r["models"]) for r in picked],
                            [100 * int(r["covered"]) / int(r["arrived"]) for r in picked],
                            style,
                            color=f"C{i}",
                            label=kind if widened == "0.0" else f"{kind}, widened x{widened}",
                        )
            axes.set_title(f"{side}x{side} array, {known} chips known at the start")
            axes.set_xlabel("models kept")
            axes.set_ylabel("served without retraining, % of arrived")
            axes.legend(fontsize=6, ncols=2)
    figure.savefig(folder / "stream.png", dpi=110)


if __name__ == "__main__":
    task, *rest = sys.argv[1:]
    if task == "quality":
        quality(int(rest[0]), Path(rest[1]))
    else:
        {"stream": stream, "figures": figures}[task](Path(rest[0]))
