"""How good are the plans, and how many new chips need no retraining? Writes raw rows as CSV.

`python -m experiments.planning_study quality 100 FOLDER` compares planners on one fleet size;
`... bounds 100 FOLDER` proves how far from the best possible they are;
`... stream FOLDER` lets 1,000 chips arrive; `... figures FOLDER` draws what the rows say.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

from matplotlib.figure import Figure

from efat.plan_figures import draw_groups, draw_history, draw_overlaps, draw_rewards
from efat.planning.assign import assign, library_of
from efat.planning.best import Best
from efat.planning.greedy import Greedy
from efat.planning.hierarchical import Hierarchical
from efat.planning.local_search import LocalSearch
from efat.planning.packing import Packing
from tests.planning.fleets import CURVES, KINDS, fleet, table_cost

SIDE = 256
PLANNERS = {
    "greedy": Greedy(),
    "hierarchical": Hierarchical(),
    "local_search": LocalSearch(),
    "packing": Packing(),
    "best": Best(effort="cheap"),
}


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def bounds(chips: int, folder: Path) -> None:
    """Prove a bound for each kind and curve by column generation: minutes of CPU time."""
    rows: list[dict[str, object]] = []
    for curve in CURVES:
        for kind in KINDS:
            started = time.process_time()
            plan = Best(effort="full")(fleet(kind, chips, SIDE), table_cost(curve, SIDE), 0)
            row: dict[str, object] = {
                "chips": chips,
                "side": SIDE,
                "kind": kind,
                "curve": curve,
                "price": plan.price,
                "bound": round(plan.bound, 3),
                "gap": round(plan.gap, 5),
                "cpu_seconds": round(time.process_time() - started, 2),
                "seed": 0,
            }
            rows.append(row)
            print(*row.values(), flush=True)
            write(folder / f"bounds_{chips}.csv", rows)


def quality(chips: int, folder: Path) -> None:
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        for curve in CURVES:
            maps, cost = fleet(kind, chips, SIDE), table_cost(curve, SIDE)
            individual = sum(cost(chip.fault_map) for chip in maps)
            for name, planner in PLANNERS.items():
                if chips > 500 and name not in ("greedy", "best"):
                    continue  # `best` runs them all
                started = time.process_time()
                plan = planner(maps, cost, 0)
                row: dict[str, object] = {
                    "chips": chips,
                    "side": SIDE,
                    "kind": kind,
                    "curve": curve,
                    "planner": name,
                    "price": plan.price,
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
    for side, known, kind in [(s, k, kind) for s in (32, 256) for k in (20, 200) for kind in KINDS]:
        cost = table_cost("floored", side)
        chips = fleet(kind, known + 1000, side, seed=5)
        first = Hierarchical()(chips[:known], cost, 0)
        library, covered = library_of(first, finished=True), 0
        for start in range(known, known + 1000, 20):
            found = assign(chips[start : start + 20], library, cost)
            covered += sum(placed.how == "covered" for placed in found.placements)
            library = tuple(
                type(model)(model.name, model.fused, model.members, True) for model in found.library
            )
            rows.append(
                {
                    "side": side,
                    "kind": kind,
                    "known": known,
                    "arrived": start + 20 - known,
                    "models": len(library),
                    "covered": covered,
                    "price": found.price,
                    "unsalvageable": len(found.unsalvageable),
                }
            )
        print(rows[-1], "models at the start", len(first.groups), flush=True)
    write(folder / "stream.csv", rows)


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
                if "best" not in by_name:
                    heights.append(0.0)
                    continue
                best = by_name["best"]
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
    chips, cost = fleet("clustered", 100, 64), table_cost("floored", 64)
    plan = Hierarchical()(chips, cost, 0)
    draw_groups(plan, chips).savefig(folder / "plan_groups.png", dpi=90)
    draw_history(plan).savefig(folder / "plan_history.png", dpi=90)
    draw_rewards(plan).savefig(folder / "plan_rewards.png", dpi=90)
    draw_overlaps(plan, chips).savefig(folder / "plan_overlaps.png", dpi=90)


def _stream_figure(folder: Path) -> None:
    rows = read(folder / "stream.csv")
    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, side in zip(figure.subplots(1, 2, sharey=True), ("32", "256"), strict=True):
        for i, kind in enumerate(KINDS):
            for known, style in (("20", "-"), ("200", "--")):
                picked = [
                    r for r in rows if (r["side"], r["kind"], r["known"]) == (side, kind, known)
                ]
                axes.plot(
                    [int(r["models"]) for r in picked],
                    [100 * int(r["covered"]) / int(r["arrived"]) for r in picked],
                    style,
                    color=f"C{i}",
                    label=f"{kind}, {known} chips known",
                )
        axes.set_title(f"{side}x{side} array")
        axes.set_xlabel("models kept")
        axes.set_ylabel("served without retraining, % of arrived")
    axes.legend(fontsize=7)
    figure.savefig(folder / "stream.png", dpi=110)


if __name__ == "__main__":
    task, *rest = sys.argv[1:]
    if task in ("quality", "bounds"):
        {"quality": quality, "bounds": bounds}[task](int(rest[0]), Path(rest[1]))
    else:
        {"stream": stream, "figures": figures}[task](Path(rest[0]))
