"""Fault-aware training on any `nn.Module`: masks that ride with the model (METHOD sections 2, 3).

`mask_model` prunes the weights that sit on faulty PEs; `keep_masked` keeps them at exactly 0 while
the rest trains. No parameter is renamed and no mask enters a state dict, so a checkpoint of a
masked model loads into the plain one with `strict=True`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import get_args

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from efat.errors import EfatError, raise_problems
from efat.faults import FaultMap
from efat.mapping import SystolicArray, WeightLayout, check_fault_map, pruned_weights

MASK = "weight_mask"
"""Buffer of a masked layer: 1 where the weight is healthy, 0 where it is pruned; not persistent."""

MappedLayer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
ON_ARRAY = get_args(MappedLayer)
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


def mapped_layers(model: nn.Module) -> dict[str, MappedLayer]:
    """Return the layers that run on the array, by name.

    Raises:
        EfatError: A layer with parameters that efat can neither map nor knows to be off the
            array, or no layer that maps; every such layer is named.
    """
    layers: dict[str, MappedLayer] = {}
    problems = []
    for name, module in model.named_modules():
        if isinstance(module, ON_ARRAY):
            layers[name] = module
        elif any(True for _ in module.parameters(recurse=False)) and not isinstance(
            module, OFF_ARRAY
        ):
            allowed = ", ".join(kind.__name__ for kind in ON_ARRAY)
            problems.append(
                f"model: layer {name or '(the model itself)'!r} is a {type(module).__name__}, "
                f"which cannot be mapped; layers with weights that can: {allowed}"
            )
    if not layers:
        problems.append("model: no layer maps onto the array; a convolution or Linear is needed")
    raise_problems(problems)
    return layers


def weight_layout(layer: MappedLayer) -> WeightLayout:
    """Describe the weight of a mapped layer to the mapping."""
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    return WeightLayout(tuple(layer.weight.shape), groups)


def mask_model(model: nn.Module, fault_map: FaultMap, array: SystolicArray) -> nn.Module:
    """Prune, in place, every weight that sits on a faulty PE, and remember which.

    The masks are buffers: they follow `.to()`, deep copies and pickles; a state dict neither holds
    nor overwrites them, and weights loaded later are masked again. Masking a masked model with
    another map replaces its masks; weights already pruned stay 0 until new ones are loaded.

    Args:
        model: Any module whose layers map (see `mapped_layers`).
        fault_map: Faults of the chip, or of a group of chips (union).
        array: The array; its shape is that of `fault_map`.

    Returns:
        The same `model`.

    Raises:
        EfatError: Layers that do not map, or a map of another array; nothing is masked then.
    """
    check_fault_map(array, fault_map)
    layers = mapped_layers(model).values()
    for layer in layers:
        keep = torch.from_numpy(~pruned_weights(weight_layout(layer), array, fault_map))
        if MASK not in layer._buffers:
            layer.register_load_state_dict_post_hook(_mask_loaded)  # type: ignore[no-untyped-call]
        layer.register_buffer(MASK, keep.to(layer.weight), persistent=False)
    mask_weights(layers)
    return model


def masked_layers(model: nn.Module) -> dict[str, MappedLayer]:
    """Return the layers that carry a mask, by name."""
    return {
        n: m for n, m in model.named_modules() if isinstance(m, ON_ARRAY) and MASK in m._buffers
    }


@torch.no_grad()
def mask_weights(layers: Iterable[MappedLayer]) -> None:
    """Set every pruned weight of masked `layers` to 0, in one fused call."""
    weights, masks = zip(*((layer.weight, getattr(layer, MASK)) for layer in layers), strict=True)
    torch._foreach_mul_(weights, masks)


def keep_masked(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[RemovableHandle]:
    """Keep pruned weights, their gradients and their optimizer state at 0 from now on.

    Gradients are masked as they are accumulated, hence before any clipping; weights after every
    `optimizer.step()`. A deep copy of the model keeps its masks but, like any copy, has no
    optimizer: call this again for the copy and its own optimizer.

    Args:
        model: A model that went through `mask_model`.
        optimizer: The optimizer of its parameters, of any type.

    Returns:
        Handles; `handle.remove()` on each detaches everything.

    Raises:
        EfatError: The model is not masked.
    """
    layers = masked_layers(model)
    if not layers:
        raise EfatError("keep_masked: the model has no masks; call mask_model first")
    handles: list[RemovableHandle] = [
        layer.weight.register_post_accumulate_grad_hook(partial(_mask_gradient, layer._buffers))
        for layer in layers.values()
    ]
    after_step = partial(_mask_after_step, layers.values())
    return [*handles, optimizer.register_step_post_hook(after_step)]


def verify_masks(model: nn.Module) -> None:
    """Raise `EfatError` naming every layer in which a pruned weight is not exactly 0."""
    raise_problems(
        f"{name}.weight: {count} pruned weights are not 0; train with keep_masked"
        for name, layer in masked_layers(model).items()
        if (count := int(torch.count_nonzero(layer.weight[getattr(layer, MASK) == 0])))
    )


def _mask_gradient(buffers: Mapping[str, Tensor | None], weight: Tensor) -> None:
    """Run after a gradient was accumulated; looks the mask up, since `.to()` replaces buffers.

    It runs for every weight in every backward pass, hence the dictionary: an attribute of a module
    takes as long to find as a small mask to apply.
    """
    mask = buffers[MASK]
    if weight.grad is not None and mask is not None:
        weight.grad.mul_(mask)


def _mask_after_step(layers: Collection[MappedLayer], *_: object) -> None:
    mask_weights(layers)


def _mask_loaded(layer: MappedLayer, _: object) -> None:
    mask_weights([layer])
