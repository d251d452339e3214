"""The record's tables, from its raw rows."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from experiments.records import Row, markdown, read, where

HERE = Path(__file__).parent
KINDS = ("uniform", "clustered", "lines", "systematic")
CURVES = ("concave", "convex_end", "floored")
SOLVED = 1 - 1e-6
"""Share of the relaxation over the generated groups from which the bound counts as that value."""


def percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 5e-4 else "0"


def solved(row: Row) -> bool:
    """Return whether the relaxation over all groups is solved to proof."""
    return not row["relaxation"] or float(row["bound"]) >= float(row["relaxation"]) * SOLVED


def quality_table(chips: int) -> str:
    """Lay out greedy against `min_cost`, and the bound: a line per kind and cost."""
    rows, lines = where(read(HERE / "results.csv"), chips=str(chips)), []
    for kind, curve in product(KINDS, CURVES):
        case = {row["planner"]: row for row in where(rows, kind=kind, curve=curve)}
        greedy, price = (float(case[name]["price"]) for name in ("greedy", "min_cost"))
        bound = float(case["min_cost"]["bound"])
        prices = (f"{value:,.0f}" for value in (greedy, price))
        saved, gap = percent(1 - price / greedy), percent(1 - bound / price)
        lines.append([kind, curve, *prices, saved, f"{bound:,.0f}", gap])
    head = [f"{chips:,} chips", "cost", "greedy", "`min_cost`", "saved", "bound", "gap"]
    return markdown(head, lines)


def fleets() -> dict[tuple[int, int, str, str], Row]:
    """Return each fleet that was planned, by side, chips, kind and curve."""
    hundred = where(read(HERE / "results.csv"), chips="100", planner="min_cost")
    return {
        (int(row["side"]), int(row["chips"]), row["kind"], row["curve"]): row
        for row in [*read(HERE / "reach.csv"), *hundred]
    }


def reach_table() -> str:
    """Lay out gaps under the three costs; in bold where the relaxation is solved to proof."""
    planned = fleets()
    lines = [
        [f"{side}x{side}", str(chips),
         *(" / ".join(gap(planned.get((side, chips, kind, curve))) for curve in CURVES)
           for kind in KINDS)]
        for side, chips in sorted({key[:2] for key in planned})
    ]  # fmt: skip
    return markdown(["array", "chips", *KINDS], lines)


def gap(row: Row | None) -> str:
    """Write one gap in percent; a dash where no fleet was planned."""
    if row is None:
        return "-"
    text = percent(float(row["gap"])).removesuffix(" %")
    return f"**{text}**" if solved(row) else text


def count_table() -> str:
    """Count the fleets with a solved relaxation, and those of them within 2 %, by cost."""
    lines = []
    for curve in CURVES:
        planned = [row for key, row in fleets().items() if key[3] == curve]
        proved = [float(row["gap"]) for row in planned if solved(row)]
        near, largest = sum(share <= 0.02 for share in proved), max(proved, default=0.0)
        counts = map(str, (len(planned), len(proved), near))
        lines.append([curve, *counts, percent(largest)])
    head = ["cost", "fleets", "relaxation solved", "of these within 2 %", "largest gap there"]
    return markdown(head, lines)


def optimum_table() -> str:
    """Lay out what `exact` proves for fleets with a solved relaxation that leaves over 2 %."""
    lines = []
    for row in read(HERE / "exact.csv"):
        price, bound, proved = (float(row[name]) for name in ("min_cost", "bound", "exact_bound"))
        lines.append([
            f"{row['side']}x{row['side']}", row["kind"], row["curve"], f"{price:,.0f}",
            f"{bound:,.0f}", percent(1 - bound / price), f"{proved:,.0f}",
            percent(price / proved - 1),
        ])  # fmt: skip
    head = ["array", "fleet of 20", "cost", "`min_cost`", "bound", "gap", "optimum",
            "`min_cost` above it"]  # fmt: skip
    return markdown(head, lines)


def tables() -> list[str]:
    return [
        quality_table(100), reach_table(), count_table(), optimum_table(), quality_table(1000),
    ]  # fmt: skip
