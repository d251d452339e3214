"""Where is column generation can_list_all, and how far is `min_cost` from the bound there?

`python -m experiments.planning_reach FOLDER` plans fleets of each kind, under each cost, on arrays
and of sizes that grow, and writes `reach.csv`: is the relaxation over all groups solved to proof?
`... 16 FOLDER` does so for arrays of that side alone, into `reach_16.csv`.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from efat.hardware import Chip
from efat.planning import CountCost, MinCost, Plan, Problem
from efat.planning.bounds.lower_bound import Relaxation, relax
from efat.planning.planners import min_cost as best
from tests.planning.fleets import CURVES, KINDS, fleet, table_cost

SIZES = {16: (20, 40, 60, 100), 64: (20, 40, 60, 100), 256: (20, 40, 60)}
"""Chips for each side of the array; 100 chips of 256x256 PEs are in `results_100.csv`."""


def plan_and_relaxation(chips: Sequence[Chip], cost: CountCost) -> tuple[Plan, float | None]:
    """Return the best plan, and the relaxation over the groups that were generated.

    Where that value is the bound too, no group was missed: the relaxation over all groups is solved
    to proof. None where the optimum itself was computed, or no groups were generated.
    """
    seen: list[Relaxation] = []

    def noting(problem: Problem, groups: Sequence[tuple[int, ...]]) -> Relaxation:
        seen.append(relax(problem, groups))
        return seen[-1]

    with patch.object(best, "relax", noting):
        plan = MinCost()(chips, cost, 0)
    known = [found.columns[0] for found in seen if found.columns is not None]
    return plan, float(known[0].values().sum()) if known else None


def row(kind: str, curve: str, chips: int, side: int) -> dict[str, object]:
    """Plan one fleet; `solved`: the bound is that of the relaxation over all groups, or better."""
    maps, cost = fleet(kind, chips, side), table_cost(curve, side)
    started = time.process_time()
    plan, relaxation = plan_and_relaxation(maps, cost)
    cpu_s = time.process_time() - started
    grouped = len(plan.chip_names)
    return {
        "side": side,
        "chips": chips,
        "grouped": grouped,
        "kind": kind,
        "curve": curve,
        "price": plan.price,
        "bound": round(plan.bound, 3),
        "gap": round(plan.gap, 5),
        "relaxation": "" if relaxation is None else round(relaxation, 3),
        "solved": int(relaxation is None or plan.bound >= relaxation * (1 - 1e-6)),
        "groups": len(plan.groups),
        "cpu_seconds": round(cpu_s, 2),
        "seed": 0,
    }


def main(sides: Sequence[int], path: Path) -> None:
    cases = [(k, c, n, s) for s in sides for n in SIZES[s] for k in KINDS for c in CURVES]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = None
        for case in cases:
            found = row(*case)
            writer = writer or csv.DictWriter(file, list(found), lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(found)
            file.flush()
            print(*found.values(), flush=True)


if __name__ == "__main__":
    *sides, folder = sys.argv[1:]
    name = f"reach_{sides[0]}.csv" if sides else "reach.csv"
    main([int(side) for side in sides] or list(SIZES), Path(folder) / name)
