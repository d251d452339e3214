"""Refuse, before any work, recipes that this network or array does not allow."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from efat.errors import EfatError
from efat.nn.masking import mapped_layers
from efat.nn.repair import has_statistics, weight_matrices
from efat.training import Recipe

TRIED = 2
"""Samples that are passed through the network to see which layers run, and on what."""


def recipe_problems(
    recipe: Recipe, network: nn.Module, inputs: Tensor, dataflow: str, off_array: Collection[str]
) -> list[str]:
    """Return why the steps of a recipe before retraining cannot be taken.

    Args:
        recipe: The steps.
        network: Any weights will do.
        inputs: A batch of its inputs.
        dataflow: Of the array.
        off_array: Names of layers that are not on it.
    """
    problems = []
    if recipe.hardens and dataflow != "ws":
        problems.append(
            f"recipe.steps: harden given, but array.dataflow={dataflow} keeps no weight in a PE; "
            "use array.dataflow=ws, or leave it out"
        )
    rescales = "recalibrate" in recipe.repairs and not has_statistics(network)
    solving = [s for s in recipe.repairs if s != "recalibrate" or rescales]
    if not solving:
        return problems
    if dataflow != "ws":
        return [
            *problems,
            f"recipe.steps: {', '.join(solving)} given, but array.dataflow={dataflow} keeps no "
            "weight in a PE; use array.dataflow=ws, or recipe=retrain (or, for a network with "
            "BatchNorm, recalibrate)",
        ]
    sequential = "compensate" in solving and recipe.mode != "one_shot"
    by = "recipe.steps: recalibrate given without BatchNorm" if rescales else None
    by = f"recipe.mode: {recipe.mode} given" if sequential else by
    return _weight_problems(recipe, network, inputs, off_array, by)


def _weight_problems(
    recipe: Recipe,
    network: nn.Module,
    inputs: Tensor,
    off_array: Collection[str],
    side_by_side: str | None,
) -> list[str]:
    """Return why weights cannot be solved for; `side_by_side` names what goes layer by layer."""
    try:
        weight_matrices(network, off_array)
    except EfatError as error:
        return list(error.problems)
    layers = mapped_layers(network, off_array)
    attentions = [n for n, layer in layers.items() if isinstance(layer, nn.MultiheadAttention)]
    own = {  # what is inside an attention is run by it, not as a module
        name: layer
        for name, layer in layers.items()
        if not any(f"{name}.".startswith(f"{attention}.") for attention in attentions)
    }
    sizes = _batch_sizes(network, own, inputs[:TRIED])
    problems = [
        f"recipe.steps: {recipe.repairs[0]} given, but layer {name!r} does not run as a module; "
        "name it in array.off_array"
        for name in own
        if name not in sizes
    ]
    if side_by_side is None:
        return problems
    unfit = dict.fromkeys(attentions, "is an attention") | {
        name: f"sees {size} rows for {TRIED} samples: not batch first"
        for name, size in sizes.items()
        if size % TRIED
    }
    return problems + [
        f"{side_by_side}, but layer {name!r} {what}; use steps=[compensate], mode=one_shot, or "
        "name it in array.off_array"
        for name, what in unfit.items()
    ]


def _batch_sizes(network: nn.Module, layers: dict[str, Any], inputs: Tensor) -> dict[str, int]:
    """Return how many rows each layer that runs sees first, by name."""
    sizes: dict[str, int] = {}

    def note(name: str, _: nn.Module, args: Any, kwargs: Any) -> None:
        sizes[name] = len(args[0] if args else kwargs["input"])

    handles = [
        layer.register_forward_pre_hook(partial(note, name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            network.eval()(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return sizes
