"""How many of 1,000 arriving chips need no retraining, also with models trained for more?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from efat.hardware import Chip, FaultMap
from efat.planning import CountCost, Hierarchical, LibraryModel, assign, plan_library
from experiments.records import write
from tests.planning.fleets import KINDS, fleet, table_cost

HERE = Path(__file__).parent
STREAMED = (*KINDS, "few")
WIDENED = (1.0, 2.0, 4.0)
"""Most that a model trained for more than its chips may cost, over what they need."""


def arrivals(
    side: int, known: int, kind: str, widened: float, total: int = 1000
) -> list[dict[str, object]]:
    """Let chips arrive; return one row per batch, price and covered chips counted from the start.

    With `widened` above 0 each model is trained for a larger map than its chips need: see `widen`.
    """
    cost = table_cost("floored", side)
    chips = arriving(kind, known + total, side)
    seen = sum(chip.fault_map.faulty.astype(np.int64) for chip in chips[:known])
    library = plan_library(Hierarchical()(chips[:known], cost, 0), finished=False)
    library = finish(library, seen, cost, widened)
    rows: list[dict[str, object]] = []
    covered = unsalvageable = 0
    price = sum(cost(model.fused) for model in library)
    for start in range(known, known + total, 20):
        batch = chips[start : start + 20]
        joined = assign(batch, library, cost)
        seen = seen + sum(chip.fault_map.faulty.astype(np.int64) for chip in batch)
        library = finish(joined.library, seen, cost, widened)
        covered += sum(placed.how == "covered" for placed in joined.placements)
        unsalvageable += len(joined.unsalvageable)
        old = {model.name for model in joined.library if model.finished}
        price += sum(cost(model.fused) for model in library if model.name not in old)
        rows.append({
            "side": side, "kind": kind, "known": known, "widened": widened,
            "arrived": start + 20 - known, "models": len(library), "covered": covered,
            "price": price, "unsalvageable": unsalvageable,
        })  # fmt: skip
    return rows


def arriving(kind: str, chips: int, side: int) -> list[Chip]:
    """Return the chips of a stream, known ones first; `few`: three faulty PEs per chip."""
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


def main() -> None:
    """Plan the first chips, keep those models; 1,000 more arrive in batches of 20."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    cases = [(side, known, kind, 0.0) for side in (32, 256) for known in (20, 200)
             for kind in STREAMED]  # fmt: skip
    cases += [(side, 20, kind, w) for side in (32, 256) for w in WIDENED for kind in STREAMED]
    rows = []
    for case in cases:
        rows += arrivals(*case)
        print(*rows[-1].values(), flush=True)
        write(HERE / "stream.csv.gz", rows)
