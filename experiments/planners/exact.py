"""What `exact` proves where the relaxation is solved and `min_cost` is more than 2 % above it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from efat.planning import Exact, MinCost
from experiments.records import write
from tests.planning.fleets import fleet, table_cost

FLEETS = (
    (16, "lines", "concave"), (16, "systematic", "concave"), (16, "uniform", "concave"),
    (64, "clustered", "concave"), (64, "lines", "concave"), (64, "systematic", "concave"),
    (64, "uniform", "concave"), (64, "clustered", "floored"), (64, "lines", "floored"),
    (64, "systematic", "floored"),
)  # fmt: skip
CHIPS = 20


def exact_row(side: int, kind: str, curve: str) -> dict[str, object]:
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


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = [exact_row(*case) for case in FLEETS]
    write(Path(__file__).with_name("exact.csv"), rows)
