"""Fold a shift of a layer's mean output into its bias, or into the BatchNorm that follows it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from efat.nn.lowering import MappedLayer
from efat.nn.repair.weight_matrices import WeightMatrix, join

BatchNorm = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def following_norms(
    model: nn.Module, products: dict[str, WeightMatrix], inputs: Tensor
) -> dict[str, str]:
    """Return the BatchNorm that directly follows each weight, by running the model once.

    Only a BatchNorm that has running statistics, normalises the layer's channels and follows one
    layer counts.

    Args:
        model: In evaluation mode.
        products: The weights on the array.
        inputs: A batch; one sample is enough.

    Returns:
        Name of the BatchNorm by parameter name, for weights that have one.
    """
    watch = _Watch({}, {}, {})
    layers = {p.weight.layer: name for name, p in products.items()}
    handles = [
        layer.register_forward_hook(partial(watch.layer_ran, name))
        for layer, name in layers.items()
        if not isinstance(layer, nn.MultiheadAttention)
    ]
    for name, norm in model.named_modules():
        if isinstance(norm, BatchNorm) and norm.running_mean is not None:
            handles.append(norm.register_forward_pre_hook(partial(watch.norm_runs, name)))
    try:
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    once = {source: name for name, source in watch.sources.items() if source}
    calls = list(watch.sources.values())
    return {s: name for s, name in once.items() if calls.count(s) == 1 and watch.calls[s] == 1}


@dataclass
class _Watch:
    """The layer of each output; it holds the outputs, so that no other tensor gets their id."""

    outputs: dict[int, tuple[str, Tensor, int]]
    sources: dict[str, str | None]
    calls: dict[str, int]

    def layer_ran(self, name: str, layer: MappedLayer, _: Any, out: Tensor) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if not isinstance(layer, nn.Linear) or out.dim() == 2:  # else channels are not axis 1
            self.outputs[id(out)] = (name, out, out._version)

    def norm_runs(self, norm_name: str, _: Any, args: tuple[Any, ...]) -> None:
        source, out, version = self.outputs.get(id(args[0]), (None, None, 0))
        if out is not None and out._version != version:
            source = None  # an in-place activation changed it
        earlier = self.sources.get(norm_name, source)
        self.sources[norm_name] = source if earlier == source else None


def has_intercept(name: str, product: WeightMatrix, norms: dict[str, str]) -> bool:
    """Return whether a bias or BatchNorm can absorb a shift of a weight's outputs."""
    return name in norms or _bias_of(product) is not None


@torch.no_grad()
def fold_shift(
    model: nn.Module, name: str, product: WeightMatrix, norms: dict[str, str], shift: Tensor
) -> None:
    """Add `shift` [groups, m] to a weight's outputs, by its bias or the running mean after it."""
    bias = _bias_of(product)
    if bias is not None:
        bias.data = bias.data + shift.flatten().to(bias)
    elif name in norms:
        mean = model.get_buffer(join(norms[name], "running_mean"))
        mean -= shift.flatten().to(mean)


def _bias_of(product: WeightMatrix) -> Tensor | None:
    """Return the bias of all of a weight's outputs: a parameter, or None."""
    layer = product.weight.layer
    if not isinstance(layer, nn.MultiheadAttention):
        return layer.bias
    # separate projections share one bias, which `bias.data = ` could set only in part
    return layer.in_proj_bias if product.weight.parameter == "in_proj_weight" else None


def norm_gains(model: nn.Module, norm: str) -> Tensor:
    """Return the squared gain of a BatchNorm for each channel, [channels], float64."""
    module = model.get_submodule(norm)
    if not isinstance(module, BatchNorm) or module.running_var is None:
        raise TypeError(f"{norm} is no BatchNorm with running statistics")
    scale = torch.ones_like(module.running_var) if module.weight is None else module.weight
    return (scale.detach().double() ** 2) / (module.running_var.double() + module.eps)
