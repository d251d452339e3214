"""The record's tables, from its raw rows: `python experiments/2026-11-22-planners/table.py`."""

import csv
from itertools import product
from pathlib import Path

HERE = Path(__file__).parent
KINDS = ("uniform", "clustered", "lines", "systematic")
CURVES = ("concave", "convex_end", "floored")
SOLVED = 1 - 1e-6
"""Share of the relaxation over the generated groups from which the bound counts as that value."""


def rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 5e-4 else "0"


def solved(row: dict[str, str]) -> bool:
    """Whether the relaxation over all groups is solved to proof."""
    return not row["relaxation"] or float(row["bound"]) >= float(row["relaxation"]) * SOLVED


def quality(chips: int) -> str:
    """Greedy against best, and the bound: a row a kind and cost."""
    found = {(r["kind"], r["curve"], r["planner"]): r for r in rows(f"results_{chips}.csv")}
    lines = [f"| {chips:,} chips | cost | greedy | best | saved | bound | gap |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for kind, curve in product(KINDS, CURVES):
        greedy, best = (float(found[kind, curve, name]["price"]) for name in ("greedy", "min_cost"))
        bound = float(found[kind, curve, "min_cost"]["bound"])
        lines.append(
            f"| {kind} | {curve} | {greedy:,.0f} | {best:,.0f} | {percent(1 - best / greedy)} "
            f"| {bound:,.0f} | {percent(1 - bound / best)} |"
        )
    return "\n".join(lines)


def measured() -> dict[tuple[int, int, str, str], dict[str, str]]:
    """Each fleet that was planned, by side, chips, kind and curve."""
    own = [row for path in sorted(HERE.glob("reach_*.csv")) for row in rows(path.name)]
    hundred = [row for row in rows("results_100.csv") if row["planner"] == "min_cost"]
    return {
        (int(row["side"]), int(row["chips"]), row["kind"], row["curve"]): row
        for row in [*own, *hundred]
    }


def reach() -> str:
    """Gaps under the three costs; in bold where the relaxation is solved to proof."""
    found = measured()
    lines = ["| array | chips | " + " | ".join(KINDS) + " |", "|---|---|---|---|---|---|"]
    for side, chips in sorted({key[:2] for key in found}):
        cells = [
            " / ".join(gap(found.get((side, chips, kind, curve))) for curve in CURVES)
            for kind in KINDS
        ]
        lines.append(f"| {side}x{side} | {chips} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gap(row: dict[str, str] | None) -> str:
    """One gap in percent; a dash where no fleet was planned."""
    if row is None:
        return "-"
    text = percent(float(row["gap"])).removesuffix(" %")
    return f"**{text}**" if solved(row) else text


def count() -> str:
    """How many fleets have a solved relaxation, and how many of these are within 2 %, by cost."""
    lines = ["| cost | fleets | relaxation solved | of these within 2 % | largest gap there |"]
    lines += ["|---|---|---|---|---|"]
    for curve in CURVES:
        fleets = [row for key, row in measured().items() if key[3] == curve]
        proved = [float(row["gap"]) for row in fleets if solved(row)]
        near = sum(share <= 0.02 for share in proved)
        largest = percent(max(proved, default=0.0))
        lines.append(f"| {curve} | {len(fleets)} | {len(proved)} | {near} | {largest} |")
    return "\n".join(lines)


def optimum() -> str:
    """What `exact` proves for fleets with a solved relaxation that leaves more than 2 %."""
    lines = ["| array | fleet of 20 | cost | best | bound | gap | optimum | best above it |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for row in rows("exact.csv"):
        best, bound, proved = (float(row[name]) for name in ("min_cost", "bound", "exact_bound"))
        lines.append(
            f"| {row['side']}x{row['side']} | {row['kind']} | {row['curve']} | {best:,.0f} "
            f"| {bound:,.0f} | {percent(1 - bound / best)} | {proved:,.0f} "
            f"| {percent(best / proved - 1)} |"
        )
    return "\n".join(lines)


def tables() -> list[str]:
    return [quality(100), quality(1000), reach(), count(), optimum()]


if __name__ == "__main__":
    print("\n\n".join(tables()))
