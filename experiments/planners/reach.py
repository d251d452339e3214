"""Where is column generation affordable, and how far is `min_cost` from the bound there?

Plans fleets of each kind, under each cost, on arrays and of sizes that grow: is the relaxation over
all groups solved to proof? `python -m experiments.planners reach 16` does so for arrays of that
side alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from unittest.mock import patch

from efat.hardware import Chip
from efat.planning import CountCost, MinCost, Plan, Problem
from efat.planning.bounds.lower_bound import Relaxation, relax
from efat.planning.planners import min_cost
from experiments.records import update
from tests.planning.fleets import CURVES, KINDS, fleet, table_cost

HERE = Path(__file__).parent
SIZES = {16: (20, 40, 60, 100), 64: (20, 40, 60, 100), 256: (20, 40, 60)}
"""Chips for each side of the array; 100 chips of 256x256 PEs are in `results.csv`."""


def plan_and_relaxation(chips: Sequence[Chip], cost: CountCost) -> tuple[Plan, float | None]:
    """Return the cheapest plan, and the relaxation over the groups that were generated.

    Where that value is the bound too, no group was missed: the relaxation over all groups is solved
    to proof. None where the optimum itself was computed, or no groups were generated.
    """
    seen: list[Relaxation] = []

    def noting(problem: Problem, groups: Sequence[tuple[int, ...]]) -> Relaxation:
        seen.append(relax(problem, groups))
        return seen[-1]

    with patch.object(min_cost, "relax", noting):
        plan = MinCost()(chips, cost, 0)
    known = [relaxed.columns[0] for relaxed in seen if relaxed.columns is not None]
    return plan, float(known[0].values().sum()) if known else None


def reach_row(kind: str, curve: str, chips: int, side: int) -> dict[str, object]:
    """Plan one fleet; `solved`: the bound is that of the relaxation over all groups, or better."""
    maps, cost = fleet(kind, chips, side), table_cost(curve, side)
    started = time.process_time()
    plan, relaxation = plan_and_relaxation(maps, cost)
    cpu_s = time.process_time() - started
    return {
        "side": side, "chips": chips, "grouped": len(plan.chip_names), "kind": kind,
        "curve": curve, "price": plan.price, "bound": round(plan.bound, 3),
        "gap": round(plan.gap, 5),
        "relaxation": "" if relaxation is None else round(relaxation, 3),
        "solved": int(relaxation is None or plan.bound >= relaxation * (1 - 1e-6)),
        "groups": len(plan.groups), "cpu_seconds": round(cpu_s, 2), "seed": 0,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", nargs="*", type=int, default=list(SIZES), metavar="SIDE")
    for side in parser.parse_args().sides:
        for chips, kind, curve in product(SIZES[side], KINDS, CURVES):
            row = reach_row(kind, curve, chips, side)
            print(*row.values(), flush=True)
            key = {"side": side, "chips": chips, "kind": kind, "curve": curve}
            update(HERE / "reach.csv", key, [row])
