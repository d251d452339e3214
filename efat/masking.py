"""Fault-aware training on any `nn.Module`: masks that ride with the model (METHOD sections 2, 3).

`mask_model` makes a model compute what the array of a faulty, bypassed chip computes. What is
masked depends on the dataflow: weights (`ws`: pruned once, then `keep_masked` keeps them at exactly
0 while the rest trains), outputs before bias (`os`) or inputs as the array sees them (`is`). No
parameter is renamed and no mask enters a state dict, so a checkpoint of a masked model loads into
the plain one with `strict=True`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from efat.activation_masks import (
    HEALTHY,
    keep_dense,
    mask_activations,
    masked_forward,
    undo_keep_dense,
)
from efat.errors import EfatError, raise_problems
from efat.faults import FaultMap
from efat.lowering import ON_ARRAY, MappedLayer, layer_weights
from efat.mapping import SystolicArray, WeightLayout, check_fault_map, pruned_weights


def mask_name(parameter: str) -> str:
    """Return the buffer of a parameter's mask: no name that torch's pruning or a user would take.

    >>> mask_name("in_proj_weight")
    '_efat_in_proj_weight_mask'
    """
    return f"_efat_{parameter}_mask"


MASK = mask_name("weight")
"""Buffer of a masked layer: 1 where the weight is healthy, 0 where it is pruned; not persistent."""

BUFFERS = {
    HEALTHY,
    *map(mask_name, ("weight", "in_proj_weight")),
    *map(mask_name, ("q_proj_weight", "k_proj_weight", "v_proj_weight")),
}
"""Every buffer that masking adds to a layer; all others are the user's."""

OFF_ARRAY = (
    nn.modules.batchnorm._NormBase,  # batch and instance normalisation
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.PReLU,
    nn.Embedding,
)
"""Layers that are computed beside the array: never masked, always trainable."""


@dataclass(frozen=True)
class MappedWeight:
    """A weight that the array multiplies with: where it is in the model, and how it maps."""

    layer: MappedLayer
    parameter: str
    layout: WeightLayout

    @property
    def tensor(self) -> Tensor:
        """The weight itself."""
        weight: Tensor = getattr(self.layer, self.parameter)
        return weight

    @property
    def mask(self) -> Tensor:
        """Its mask, looked up afresh, since `.to()` replaces buffers."""
        mask: Tensor = getattr(self.layer, mask_name(self.parameter))
        return mask


def mapped_layers(model: nn.Module, off_array: Collection[str] = ()) -> dict[str, MappedLayer]:
    """Return the layers that run on the array, by name.

    Args:
        model: The model.
        off_array: Names of layers to leave off the array; a name covers what is inside it.

    Raises:
        EfatError: A layer with parameters that efat can neither map nor knows to be off the
            array, one with a forward of its own, one whose weight is recomputed from other
            tensors, a name in `off_array` that no layer has, or no layer that maps; all at once.
    """
    names = {name for name, _ in model.named_modules()}
    problems = [
        f"off_array: {name!r} given; the model has no such layer; use a name of named_modules()"
        for name in off_array
        if name not in names or not name
    ]
    layers: dict[str, MappedLayer] = {}
    for name, module in model.named_modules():
        if any(f"{name}.".startswith(f"{off}.") for off in off_array):
            continue
        found = _problems(name, module)
        problems += found
        if isinstance(module, ON_ARRAY) and not found:
            layers[name] = module
    if not layers:
        problems.append("model: no layer maps onto the array; a convolution or Linear is needed")
    raise_problems(problems)
    return layers


def _problems(name: str, module: nn.Module) -> list[str]:
    """Return why a layer is neither known to be off the array nor maps onto it."""
    named = f"model: layer {name or '(the model itself)'!r}"
    if isinstance(module, nn.modules.lazy.LazyModuleMixin):
        return [f"{named} has no shape yet; run the model once first"]
    if isinstance(module, ON_ARRAY):
        if not _computes_as_torch(module):
            return [
                f"{named} is a {type(module).__name__} with a forward of its own, which cannot be "
                "mapped; name it in off_array or use torch's own layer"
            ]
        return [
            f"{named}: its {parameter} is computed from other tensors (prune, parametrize, "
            "weight_norm), which a mask would not reach; make it a plain parameter first "
            "(prune.remove, remove_parametrizations, remove_weight_norm) or name the layer in "
            "off_array"
            for parameter in layer_weights(module)
            if not isinstance(module._parameters.get(parameter), nn.Parameter)
        ]
    if not any(True for _ in module.parameters(recurse=False)) or isinstance(module, OFF_ARRAY):
        return []
    allowed = ", ".join(kind.__name__ for kind in ON_ARRAY)
    return [
        f"{named} is a {type(module).__name__}, which cannot be mapped; name it in off_array or "
        f"use one of: {allowed}"
    ]


def _computes_as_torch(layer: MappedLayer) -> bool:
    """Tell whether a layer, or its subclass, leaves torch's computation as it is."""
    torchs = next(kind for kind in type(layer).__mro__ if kind in ON_ARRAY)
    methods = ("forward", "_conv_forward", "__call__")
    return all(getattr(type(layer), m, None) is getattr(torchs, m, None) for m in methods)


def mapped_weights(model: nn.Module, off_array: Collection[str] = ()) -> dict[str, MappedWeight]:
    """Return the weights that the array multiplies with, by parameter name.

    Raises:
        EfatError: As `mapped_layers`.
    """
    return {
        f"{name}.{parameter}".lstrip("."): MappedWeight(layer, parameter, layout)
        for name, layer in mapped_layers(model, off_array).items()
        for parameter, layout in layer_weights(layer).items()
    }


def weight_layouts(model: nn.Module, off_array: Collection[str] = ()) -> list[WeightLayout]:
    """Describe a model's weights to the severity measures."""
    return [weight.layout for weight in mapped_weights(model, off_array).values()]


def mask_model(
    model: nn.Module,
    fault_map: FaultMap,
    array: SystolicArray,
    off_array: Collection[str] = (),
) -> nn.Module:
    """Make `model`, in place, compute what a chip with these faults, bypassed, computes.

    `ws`: weights on faulty PEs are set to 0 and remembered. `os`: output elements of faulty PEs are
    0 before bias. `is`: input elements on faulty PEs are 0 in the products; a convolution's input
    element is one per window that it is in. Which PE is whose: `efat.mapping`. With `os` and `is` a
    sample's place in the batch decides its PEs, as on the chip.

    The masks are buffers: they follow `.to()`, deep copies and pickles; a state dict neither holds
    nor overwrites them, and weights loaded later are masked again. Masking a masked model with
    another map replaces its masks; weights already pruned stay 0 until new ones are loaded.

    Args:
        model: Any module whose layers map (see `mapped_layers`).
        fault_map: Faults of the chip, or of a group of chips (union).
        array: The array and its dataflow; its shape is that of `fault_map`.
        off_array: Names of layers to leave off the array.

    Returns:
        The same `model`.

    Raises:
        EfatError: Layers that do not map, a weight on the array that is shared with a layer off it
            (`ws`), or a map of another array; nothing is masked then.
    """
    check_fault_map(array, fault_map)
    weights = mapped_weights(model, off_array)
    if array.dataflow == "ws":
        raise_problems(_shared_off_array(model, weights))
    unmask_model(model)
    if array.dataflow != "ws":
        keep_dense(model)
        healthy = torch.from_numpy(~fault_map.faulty)
        for layer, device in {w.layer: w.tensor.device for w in weights.values()}.items():
            mask_activations(layer, healthy.to(device), array)
        return model
    for weight in weights.values():
        keep = torch.from_numpy(~pruned_weights(weight.layout, array, fault_map))
        _mask_weight(weight, keep)
    _mask_afresh(weights.values())
    return model


def unmask_model(model: nn.Module) -> nn.Module:
    """Take all masks off `model`, in place; weights already pruned stay 0."""
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
    """Return the layers that carry a mask, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, ON_ARRAY) and not BUFFERS.isdisjoint(module._buffers)
    }


def masked_weights(model: nn.Module) -> dict[str, MappedWeight]:
    """Return the weights that carry a mask, by parameter name; none for `os` and `is`."""
    return {
        f"{name}.{weight.parameter}".lstrip("."): weight
        for name, layer in masked_layers(model).items()
        for weight in _weights_with_mask(layer)
    }


@torch.no_grad()
def mask_weights(weights: Iterable[MappedWeight]) -> None:
    """Set every pruned weight of masked `weights` to 0, in one fused call."""
    pairs = [
        (weight.tensor, weight.mask)
        for weight in weights
        if mask_name(weight.parameter) in weight.layer._buffers  # not after `unmask_model`
    ]
    if pairs:
        torch._foreach_mul_(*map(list, zip(*pairs, strict=True)))


def keep_masked(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[RemovableHandle]:
    """Keep pruned weights, their gradients and their optimizer state at 0 from now on.

    Gradients are masked as they are accumulated, hence before any clipping; weights after every
    `optimizer.step()`. A deep copy of the model keeps its masks but, like any copy, has no
    optimizer: call this again for the copy and its own optimizer. Masks on outputs or inputs need
    nothing: they are part of the forward pass, and gradients follow.

    Args:
        model: A model that went through `mask_model`.
        optimizer: The optimizer of its parameters, of any type.

    Returns:
        Handles; `handle.remove()` on each detaches everything; none for `os` and `is`.

    Raises:
        EfatError: The model is not masked.
    """
    if not masked_layers(model):
        raise EfatError("keep_masked: the model has no masks; call mask_model first")
    weights = list(masked_weights(model).values())
    if not weights:
        return []
    handles: list[RemovableHandle] = [
        weight.tensor.register_post_accumulate_grad_hook(
            partial(_mask_gradient, weight.layer._buffers, mask_name(weight.parameter))
        )
        for weight in weights
        if weight.tensor.requires_grad  # frozen ones have no gradient
    ]
    after_step = partial(_mask_after_step, weights)
    return [*handles, optimizer.register_step_post_hook(after_step)]


def verify_masks(model: nn.Module) -> None:
    """Raise `EfatError` naming every layer in which a pruned weight is not exactly 0."""
    raise_problems(
        f"{name}: {count} pruned weights are not 0; train with keep_masked"
        for name, weight in masked_weights(model).items()
        if (count := int(torch.count_nonzero(weight.tensor[weight.mask == 0])))
    )


def _shared_off_array(model: nn.Module, weights: dict[str, MappedWeight]) -> list[str]:
    """Return which weights a layer beside the array uses too: masking would change that as well."""
    names = {id(weight.tensor): name for name, weight in weights.items()}
    on_array = {weight.layer for weight in weights.values()}
    return [
        f"{names[id(parameter)]}: shared with layer {name!r}, which is off the array; untie them "
        "or name both in off_array"
        for name, module in model.named_modules()
        if module not in on_array
        for parameter in module.parameters(recurse=False)
        if id(parameter) in names
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


def _mask_gradient(buffers: Mapping[str, Tensor | None], name: str, weight: Tensor) -> None:
    """Run after a gradient was accumulated; looks the mask up, since `.to()` replaces buffers.

    It runs for every weight in every backward pass, hence the dictionary: an attribute of a module
    takes as long to find as a small mask to apply.
    """
    mask = buffers.get(name)
    if weight.grad is not None and mask is not None:
        weight.grad.mul_(mask)


def _mask_after_step(weights: Collection[MappedWeight], *_: object) -> None:
    mask_weights(weights)


def _mask_loaded(layer: MappedLayer, _: object) -> None:
    _mask_afresh(_weights_with_mask(layer))


@torch.no_grad()
def _mask_afresh(weights: Iterable[MappedWeight]) -> None:
    """Set pruned weights to 0 in memory of the layer's own.

    After `load_state_dict(..., assign=True)` the parameter shares the caller's memory.
    """
    for weight in weights:
        weight.tensor.data = weight.tensor * weight.mask.to(weight.tensor)


def _is_ours(hook: Any) -> bool:
    return hook is _mask_loaded or getattr(hook, "func", None) is masked_forward
