"""How good are the plans? The planners on one fleet size (100 or 1000 chips), and the bound."""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path

from efat.planning import Greedy, Hierarchical, LocalSearch, MinCost, Packing
from experiments.planners.reach import plan_and_relaxation
from experiments.records import update
from tests.planning.fleets import CURVES, KINDS, fleet, table_cost

HERE, SIDE = Path(__file__).parent, 256
PLANNERS = {
    "greedy": Greedy(),
    "hierarchical": Hierarchical(),
    "local_search": LocalSearch(),
    "packing": Packing(),
    "min_cost": MinCost(),
}


def quality_row(chips: int, kind: str, curve: str, name: str) -> dict[str, object]:
    """Run a planner; `min_cost` proves its bound: minutes of CPU time."""
    maps, cost = fleet(kind, chips, SIDE), table_cost(curve, SIDE)
    individual = sum(cost(chip.fault_map) for chip in maps)
    started, relaxation, proved = time.process_time(), None, name == "min_cost"
    if proved:
        plan, relaxation = plan_and_relaxation(maps, cost)
    else:
        plan = PLANNERS[name](maps, cost, 0)
    return {
        "chips": chips, "side": SIDE, "kind": kind, "curve": curve, "planner": name,
        "price": plan.price,
        "bound": round(plan.bound, 3) if proved else "",
        "gap": round(plan.gap, 5) if proved else "",
        "relaxation": "" if relaxation is None else round(relaxation, 3),
        "individual": individual, "groups": len(plan.groups),
        "cpu_seconds": round(time.process_time() - started, 2), "seed": 0,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[100, 1000], metavar="CHIPS")
    for chips in parser.parse_args().sizes:
        few = ("greedy", "min_cost")  # `min_cost` runs them all
        names = few if chips > 500 else tuple(PLANNERS)
        rows = []
        for case in product(KINDS, CURVES, names):
            rows.append(quality_row(chips, *case))
            print(*rows[-1].values(), flush=True)
            update(HERE / "results.csv", {"chips": chips}, rows)
