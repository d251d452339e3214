"""Mask a model, and remove its masks (METHOD section 2)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from efat.errors import raise_problems
from efat.hardware import (
    FaultMap,
    Placement,
    SystolicArray,
    check_fault_map,
    pruned_weights,
    slot_problems,
)
from efat.nn.lowering import ON_ARRAY, MappedLayer, layer_weights
from efat.nn.masking.activations import (
    HEALTHY,
    keep_dense,
    mask_activations,
    masked_forward,
    undo_keep_dense,
)
from efat.nn.masking.layers import MappedWeight, mapped_weights, mask_name

MASK = mask_name("weight")
"""Buffer of a masked layer: 1 where the weight is healthy, 0 where it is pruned; not persistent."""

BUFFERS = {
    HEALTHY,
    *map(mask_name, ("weight", "in_proj_weight")),
    *map(mask_name, ("q_proj_weight", "k_proj_weight", "v_proj_weight")),
}
"""Every buffer that masking adds to a layer; all others belong to the user."""


def mask_model(
    model: nn.Module,
    fault_map: FaultMap,
    array: SystolicArray,
    off_array: Collection[str] = (),
    placement: Placement | None = None,
) -> nn.Module:
    """Make `model`, in place, compute as a chip does whose faulty PEs are bypassed.

    `ws`: weights on faulty PEs are set to 0, and a mask marks them. `os`: output elements of faulty
    PEs are 0 before bias. `is`: input elements on faulty PEs are 0 in the products; an input
    element of a convolution occurs once per window. `efat.hardware.mapping` assigns elements to
    PEs. With `os` and `is` the index of a sample in its batch decides its PEs, as on the chip.

    Masks are buffers: they follow `.to()`, deep copies and pickles; a state dict neither holds nor
    overwrites them, and weights loaded later are masked again. Masking a masked model with another
    fault map replaces its masks; pruned weights stay 0 until new ones are loaded.

    Args:
        model: Any module whose layers map (see `mapped_layers`).
        fault_map: Faults of the chip, or of a group of chips (union).
        array: The array and its dataflow; its shape is that of `fault_map`.
        off_array: Names of layers that do not run on the array.
        placement: Columns and rows of output channels and inputs (`ws`; see
            `efat.nn.repair.remap`); None: in their own order.

    Returns:
        The same `model`.

    Raises:
        EfatError: Layers that do not map, a weight shared by a layer on and one off the array
            (`ws`), a fault map of another array, or a placement of unknown weights, of wrong slots,
            or with `os` and `is`. The model is then unchanged.
    """
    check_fault_map(array, fault_map)
    weights = mapped_weights(model, off_array)
    placement = placement or {}
    raise_problems(_placement_problems(weights, array, placement))
    if array.dataflow == "ws":
        raise_problems(_shared_off_array(model, weights))
    unmask_model(model)
    if array.dataflow != "ws":
        keep_dense(model)
        healthy = torch.from_numpy(~fault_map.faulty)
        for layer, device in {w.layer: w.tensor.device for w in weights.values()}.items():
            mask_activations(layer, healthy.to(device), array)
        return model
    for name, weight in weights.items():
        pruned = pruned_weights(weight.layout, array, fault_map, placement.get(name))
        _mask_weight(weight, torch.from_numpy(~pruned))
    _reset_pruned(weights.values())
    return model


def unmask_model(model: nn.Module) -> nn.Module:
    """Remove all masks of `model`, in place; pruned weights stay 0."""
    undo_keep_dense(model)
    for layer in model.modules():
        for name in [n for n in layer._buffers if n in BUFFERS]:
            delattr(layer, name)
        for hooks in (layer._forward_hooks, layer._load_state_dict_post_hooks):
            for key in [key for key, hook in hooks.items() if _is_ours(hook)]:
                del hooks[key]
                layer._forward_hooks_with_kwargs.pop(key, None)
    return model


def masked_layers(model: nn.Module) -> dict[str, MappedLayer]:
    """Return the layers with a mask, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, ON_ARRAY) and not BUFFERS.isdisjoint(module._buffers)
    }


def masked_weights(model: nn.Module) -> dict[str, MappedWeight]:
    """Return the weights with a mask, by parameter name; none for `os` and `is`."""
    return {
        f"{name}.{weight.parameter}".lstrip("."): weight
        for name, layer in masked_layers(model).items()
        for weight in _weights_with_mask(layer)
    }


def verify_masks(model: nn.Module) -> None:
    """Raise `EfatError` naming every layer in which a pruned weight is not exactly 0."""
    raise_problems(
        f"{name}: {count} pruned weights are not 0; train with keep_masked"
        for name, weight in masked_weights(model).items()
        if (count := int(torch.count_nonzero(weight.tensor[weight.mask == 0])))
    )


def _shared_off_array(model: nn.Module, weights: dict[str, MappedWeight]) -> list[str]:
    """Return a problem per weight that a layer off the array shares: masking would change both."""
    names = {id(weight.tensor): name for name, weight in weights.items()}
    on_array = {weight.layer for weight in weights.values()}
    return [
        f"{names[id(parameter)]}: shared with {f'{name}.{own}'.lstrip('.')}, which is off the "
        "array; untie them or name both layers in off_array"
        for name, module in model.named_modules()
        if module not in on_array
        for own, parameter in module.named_parameters(recurse=False)
        if id(parameter) in names
    ]


def _placement_problems(
    weights: dict[str, MappedWeight], array: SystolicArray, placement: Placement
) -> list[str]:
    """Return the problems of a placement."""
    if placement and array.dataflow != "ws":
        return [f"placement: given with array.dataflow {array.dataflow!r}; only ws has one"]
    problems = [
        f"placement: {name!r} given; the model has no such weight on the array"
        for name in placement
        if name not in weights
    ]
    return problems + [
        f"placement: {name}: {problem}"
        for name in placement.keys() & weights.keys()
        for problem in slot_problems(weights[name].layout, array, placement[name])
    ]


def _mask_weight(weight: MappedWeight, keep: Tensor) -> None:
    layer = weight.layer
    layer.register_buffer(mask_name(weight.parameter), keep.to(weight.tensor), persistent=False)
    if not any(_is_ours(hook) for hook in layer._load_state_dict_post_hooks.values()):
        layer.register_load_state_dict_post_hook(_mask_loaded)  # type: ignore[no-untyped-call]


def _weights_with_mask(layer: MappedLayer) -> Iterator[MappedWeight]:
    for parameter, layout in layer_weights(layer).items():
        if mask_name(parameter) in layer._buffers:
            yield MappedWeight(layer, parameter, layout)


def _mask_loaded(layer: MappedLayer, _: object) -> None:
    _reset_pruned(_weights_with_mask(layer))


@torch.no_grad()
def _reset_pruned(weights: Iterable[MappedWeight]) -> None:
    """Set pruned weights to 0, in newly allocated memory.

    After `load_state_dict(..., assign=True)` the parameter shares the caller's memory.
    """
    for weight in weights:
        weight.tensor.data = weight.tensor * weight.mask.to(weight.tensor)


def _is_ours(hook: Any) -> bool:
    return hook is _mask_loaded or getattr(hook, "func", None) is masked_forward
