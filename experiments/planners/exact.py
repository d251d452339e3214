"""What `exact` proves where the relaxation is solved and `min_cost` is more than 2 % above it.

python experiments/2026-11-22-planners/exact.py    # from the project's root; writes exact.csv
"""

import csv
import time
from pathlib import Path

from efat.planning import Exact, MinCost
from tests.planning.fleets import fleet, table_cost

FLEETS = (
    (16, "lines", "concave"), (16, "systematic", "concave"), (16, "uniform", "concave"),
    (64, "clustered", "concave"), (64, "lines", "concave"), (64, "systematic", "concave"),
    (64, "uniform", "concave"), (64, "clustered", "floored"), (64, "lines", "floored"),
    (64, "systematic", "floored"),
)  # fmt: skip
CHIPS = 20


def row(side: int, kind: str, curve: str) -> dict[str, object]:
    chips, cost = fleet(kind, CHIPS, side), table_cost(curve, side)
    began = time.process_time()
    exact = Exact()(chips, cost, 0)
    cpu_s = round(time.process_time() - began, 1)
    best = MinCost()(chips, cost, 0)
    return {
        "side": side, "chips": CHIPS, "kind": kind, "curve": curve, "min_cost": best.price,
        "bound": best.bound, "exact": exact.price, "exact_bound": exact.bound,
        "exact_cpu_seconds": cpu_s, "seed": 0,
    }  # fmt: skip


if __name__ == "__main__":
    found = [row(*case) for case in FLEETS]
    with Path(__file__).with_name("exact.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
