"""The layers and weights of a model that run on the array (METHOD section 2)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn

from efat.errors import raise_problems
from efat.hardware import WeightLayout
from efat.nn.lowering import ON_ARRAY, MappedLayer, layer_weights

OFF_ARRAY = (
    nn.modules.batchnorm._NormBase,  # batch and instance normalisation
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.PReLU,
    nn.Embedding,
)
"""Layers that do not run on the array: never masked, always trainable."""


def mask_name(parameter: str) -> str:
    """Return the buffer name of a parameter's mask, distinct from torch's pruning masks.

    >>> mask_name("in_proj_weight")
    '_efat_in_proj_weight_mask'
    """
    return f"_efat_{parameter}_mask"


@dataclass(frozen=True)
class MappedWeight:
    """A weight on the array: its layer, its parameter name and its layout."""

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
        """Its mask, read each time, since `.to()` replaces buffers."""
        mask: Tensor = getattr(self.layer, mask_name(self.parameter))
        return mask


def mapped_layers(model: nn.Module, off_array: Collection[str] = ()) -> dict[str, MappedLayer]:
    """Return the layers that run on the array, by name.

    Args:
        model: The model.
        off_array: Names of layers that do not run on the array, with all layers inside them; and
            names of parameters that a module holds beside its layers, such as the position
            embedding of a vision transformer: its layers still map.

    Raises:
        EfatError: A layer with parameters of an unknown kind, one with its own `forward`, one whose
            weight is computed from other tensors, a name in `off_array` that no layer has, or no
            layer that maps; all at once.
    """
    names = {name for name, _ in model.named_modules()} - {""} | _beside_layers(model)
    problems = [
        f"off_array: {name!r} given; the model has no such layer; use a name of named_modules(), "
        "or of a parameter that no layer of torch holds"
        for name in off_array
        if name not in names
    ]
    layers: dict[str, MappedLayer] = {}
    beside: list[str] = []
    for name, module in model.named_modules():
        if any(f"{name}.".startswith(f"{off}.") for off in off_array):
            continue
        layer_problems = _problems(name, module, off_array)
        problems += layer_problems
        beside += _beside(name, module, off_array)
        if isinstance(module, ON_ARRAY) and not layer_problems:
            layers[name] = module
    if beside:
        problems.append(
            f"model: holds {', '.join(beside)} beside its layers; if no PE multiplies with them, "
            f"give array.off_array=[{','.join([*off_array, *beside])}]"
        )
    if not layers:
        problems.append("model: no layer maps onto the array; a convolution or Linear is needed")
    raise_problems(problems)
    return layers


def _beside_layers(model: nn.Module) -> set[str]:
    """Return the names of parameters held directly by modules that are no torch layers."""
    return {
        own
        for name, module in model.named_modules()
        if not isinstance(module, (*ON_ARRAY, *OFF_ARRAY))
        for own in _own_parameters(name, module)
    }


def _own_parameters(name: str, module: nn.Module) -> list[str]:
    return [
        f"{name}.{own}".lstrip(".")
        for own in module._parameters
        if module._parameters[own] is not None
    ]


def _problems(name: str, module: nn.Module, off_array: Collection[str]) -> list[str]:
    """Return why a layer cannot be mapped, unless it is known to be off the array."""
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
    remaining = [own for own in _own_parameters(name, module) if own not in off_array]
    if not remaining or isinstance(module, OFF_ARRAY) or _has_layers(module):
        return []
    allowed = ", ".join(kind.__name__ for kind in ON_ARRAY)
    return [
        f"{named} is a {type(module).__name__}, which cannot be mapped; name it in off_array or "
        f"use one of: {allowed}"
    ]


def _beside(name: str, module: nn.Module, off_array: Collection[str]) -> list[str]:
    """Return the parameters that a module holds beside its layers and that `off_array` lacks."""
    if isinstance(module, (*ON_ARRAY, *OFF_ARRAY)) or not _has_layers(module):
        return []
    return [own for own in _own_parameters(name, module) if own not in off_array]


def _has_layers(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _computes_as_torch(layer: MappedLayer) -> bool:
    """Return whether a layer (or a subclass) uses torch's own computation."""
    torchs = next(kind for kind in type(layer).__mro__ if kind in ON_ARRAY)
    methods = ("forward", "_conv_forward", "__call__")
    return all(getattr(type(layer), m, None) is getattr(torchs, m, None) for m in methods)


def mapped_weights(model: nn.Module, off_array: Collection[str] = ()) -> dict[str, MappedWeight]:
    """Return the weights on the array, by parameter name.

    Raises:
        EfatError: As `mapped_layers`.
    """
    return {
        f"{name}.{parameter}".lstrip("."): MappedWeight(layer, parameter, layout)
        for name, layer in mapped_layers(model, off_array).items()
        for parameter, layout in layer_weights(layer).items()
    }


def weight_layouts(model: nn.Module, off_array: Collection[str] = ()) -> list[WeightLayout]:
    """Return the layouts of a model's weights, for the severity measures."""
    return [weight.layout for weight in mapped_weights(model, off_array).values()]
