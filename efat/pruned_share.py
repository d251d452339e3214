"""How much of each layer the fault maps prune."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efat import fit
from efat.experiment import Experiment
from efat.faults import FaultMap
from efat.mapping import sum_per_pe
from efat.masking.weights import mapped_weights
from efat.planning.base import Plan
from efat.store import Store

Row = dict[str, Any]


def layer_rows(experiment: Experiment, store: Store, plan: Plan) -> list[Row]:
    """Return one row a weight tensor on the array: the share of it that fault maps prune.

    `chips_*` is over the chips' own maps, `models_*` over the fused maps of the plan's groups;
    mean, least and greatest. Empty for a dataflow that prunes no weight.
    """
    if experiment.array.dataflow != "ws":
        return []
    setup = experiment.retrain_setup
    weights = mapped_weights(fit.load_model(setup, store, None), setup.off_array)
    counts = {name: sum_per_pe(w.layout, experiment.array) for name, w in weights.items()}
    maps = {
        "chips": [chip.fault_map for chip in experiment.fleet],
        "models": [group.fused for group in plan.groups],
    }
    return [
        {"layer": name, "weights": int(count.sum())}
        | {
            f"{what}_{statistic}": value
            for what, fault_maps in maps.items()
            for statistic, value in _spread(count, fault_maps).items()
        }
        for name, count in counts.items()
    ]


def _spread(count: NDArray[np.float64], fault_maps: Iterable[FaultMap]) -> dict[str, float | None]:
    shares = [float(count[m.faulty].sum() / count.sum()) for m in fault_maps]
    if not shares:
        return dict.fromkeys(("mean", "min", "max"))
    return {"mean": sum(shares) / len(shares), "min": min(shares), "max": max(shares)}
