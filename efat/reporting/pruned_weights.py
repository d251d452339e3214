"""How much of each layer the fault maps prune."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from efat.campaign import Experiment, TrainedModel
from efat.engine import Store
from efat.hardware import (
    FaultMap,
    Placement,
    SystolicArray,
    WeightLayout,
    pruned_weights,
    sum_per_pe,
)
from efat.nn.masking import mapped_weights
from efat.nn.repair import placement_of
from efat.planning import Plan
from efat.training import load_model

Row = dict[str, Any]


Placed = tuple[FaultMap, Placement | None]


def layer_rows(
    experiment: Experiment, store: Store, plan: Plan, models: Sequence[TrainedModel]
) -> list[Row]:
    """Return one row per weight tensor on the array: the share of it that fault maps prune.

    `chips_*` is over the chips' own maps, `models_*` over the fused maps of the plan's groups, both
    where the group's model lies; mean, least and greatest. Empty for a dataflow that prunes no
    weight.

    Args:
        experiment: The campaign.
        store: Holds the models.
        plan: Its groups.
        models: One a group.
    """
    if experiment.array.dataflow != "ws":
        return []
    setup = experiment.retrain_setup
    weights = mapped_weights(load_model(setup, store, None), setup.off_array)
    placements = [None if m.diverged else placement_of(store.header(*m.weights)) for m in models]
    lies = {c: p for g, p in zip(plan.groups, placements, strict=True) for c in g.members}
    maps: dict[str, list[Placed]] = {
        "chips": [(chip.fault_map, lies.get(chip.chip_id)) for chip in experiment.fleet],
        "models": [(g.fused, p) for g, p in zip(plan.groups, placements, strict=True)],
    }
    return [
        {"layer": name, "weights": weight.layout.size}
        | {
            f"{what}_{statistic}": value
            for what, placed in maps.items()
            for statistic, value in _spread(name, weight.layout, experiment.array, placed).items()
        }
        for name, weight in weights.items()
    ]


def _spread(
    name: str, layout: WeightLayout, array: SystolicArray, placed: Iterable[Placed]
) -> dict[str, float | None]:
    """Return mean, least and greatest share of a weight that is pruned."""
    counts = sum_per_pe(layout, array)
    shares = [
        float(counts[fault_map.faulty].sum() / counts.sum())
        if placement is None
        else float(pruned_weights(layout, array, fault_map, placement.get(name)).mean())
        for fault_map, placement in placed
    ]
    if not shares:
        return dict.fromkeys(("mean", "min", "max"))
    return {"mean": sum(shares) / len(shares), "min": min(shares), "max": max(shares)}
