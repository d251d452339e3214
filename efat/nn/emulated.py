"""Run a model on the emulated array: the products of its layers there, the rest in torch."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from efat.errors import EfatError
from efat.hardware import Placement, Slots, SystolicArray
from efat.hardware.emulation import ArrayFaults, multiply
from efat.nn.lowering import run_layer
from efat.nn.masking import mapped_layers
from efat.nn.masking.activations import keep_dense

LARGEST = 127
"""Quantised values are symmetric, -127 to 127."""


@dataclass(frozen=True)
class LayerScales:
    """The int8 scales of a layer: `value = scale * int8`.

    Args:
        inputs: Step of the layer's inputs.
        weights: Step of its weights, for each output channel: [groups, m], or one for all.
    """

    inputs: float
    weights: Tensor


Scales = Mapping[str, LayerScales]
"""Scales of every weight on the array, by name (of an attention: `attn.in_proj_weight.q`)."""


@torch.no_grad()
def calibrate(
    model: nn.Module, batches: Iterable[Any], off_array: Collection[str] = ()
) -> dict[str, LayerScales]:
    """Compute the int8 scales of a trained model (post-training quantisation).

    Symmetric: a layer's inputs by their largest magnitude over `batches`, its weights by the
    largest magnitude of each output channel (Krishnamoorthi, 2018, arXiv 1806.08342).

    Args:
        model: The model, float; it is run in evaluation mode and not changed.
        batches: Inputs of the model, or (inputs, targets) pairs, from the *training* data.
        off_array: Names of layers that run in floating point off the array.

    Returns:
        The scales for `emulate`.

    Raises:
        EfatError: No batch, or layers that do not map.
    """
    largest: dict[str, tuple[Tensor, Tensor]] = {}
    recorder = _with_products(model, off_array, _Recorder(largest))
    for batch in batches:
        recorder(batch[0] if isinstance(batch, tuple | list) else batch)
    if not largest:
        raise EfatError("calibrate: no batch given; a few hundred training samples are needed")
    return {
        key: LayerScales(_step(inputs).item(), _step(weights))
        for key, (inputs, weights) in largest.items()
    }


def emulate(
    model: nn.Module,
    array: SystolicArray,
    faults: ArrayFaults,
    scales: Scales | None,
    off_array: Collection[str] = (),
    placement: Placement | None = None,
) -> nn.Module:
    """Return a copy of `model` whose layers' products run on the emulated array.

    Bias, normalisation, activations, pooling and attention scores are computed in floating point
    off the array. The copy is for evaluation: it has no gradients.

    Args:
        model: The model.
        array: The array and its dataflow.
        faults: Faults of the chip.
        scales: From `calibrate`: products in int8 and int32, and the array's results scaled back.
            None: products in float64 (no stuck bits).
        off_array: Names of layers that run in floating point off the array.
        placement: Columns and rows of output channels and inputs; None: in their own order.

    Raises:
        EfatError: Layers that do not map, or a layer without scales (when it runs).
    """
    chip = _Chip(array, faults, placement or {})
    products = _Float64(chip) if scales is None else _Int8(chip, scales)
    return _with_products(model, off_array, products)


def quantise(values: Tensor, step: Tensor | float) -> Tensor:
    """Round to the nearest step, ties to even, and clip to -127..127.

    >>> quantise(torch.tensor([0.24, -9.0]), 0.05).tolist()
    [5, -127]
    """
    return (values / step).round().clamp(-LARGEST, LARGEST).to(torch.int8)


class _Products(Protocol):
    """The computation of a model's products, by name of the weight."""

    def convert(self, key: str, x: Tensor) -> Tensor: ...

    def multiply(self, key: str, inputs: Tensor, weights: Tensor) -> Tensor: ...


@dataclass
class _Recorder:
    """Floating point; records the largest magnitudes of inputs and weights [g, m]."""

    largest: dict[str, tuple[Tensor, Tensor]]

    def convert(self, key: str, x: Tensor) -> Tensor:
        magnitude = x.abs().amax()
        earlier, weights = self.largest.get(key, (magnitude, magnitude))
        self.largest[key] = torch.maximum(magnitude, earlier), weights
        return x

    def multiply(self, key: str, inputs: Tensor, weights: Tensor) -> Tensor:
        self.largest[key] = self.largest[key][0], weights.abs().amax(dim=(1, 2))
        return _plain(inputs, weights)


@dataclass(frozen=True)
class _Chip:
    """The emulated array of a chip and the placement of weights on it."""

    array: SystolicArray
    faults: ArrayFaults
    placement: Placement

    def multiply(self, key: str, inputs: Tensor, weights: Tensor) -> NDArray[Any]:
        x, w = inputs.cpu().numpy(), weights.cpu().numpy()
        return multiply(x, w, self.array, self.faults, self._slots(key))

    def _slots(self, key: str) -> Slots | None:
        """Return the slots of a product; of a stacked attention weight, those of one projection."""
        stacked, _, part = key.rpartition(".")
        if part in _STACKED and stacked in self.placement:
            return self.placement[stacked].of_group(_STACKED.index(part))
        return self.placement.get(key)


_STACKED = ("q", "k", "v")


@dataclass
class _Float64:
    """The emulated array in float64."""

    chip: _Chip

    def convert(self, key: str, x: Tensor) -> Tensor:
        return x

    def multiply(self, key: str, inputs: Tensor, weights: Tensor) -> Tensor:
        return torch.from_numpy(self.chip.multiply(key, inputs.double(), weights.double())).to(
            weights
        )


@dataclass
class _Int8:
    """The emulated array in int8 and int32."""

    chip: _Chip
    scales: Scales

    def convert(self, key: str, x: Tensor) -> Tensor:
        if key not in self.scales:
            raise EfatError(f"scales: none for {key!r}; calibrate with the same off_array")
        return quantise(x, self.scales[key].inputs)

    def multiply(self, key: str, inputs: Tensor, weights: Tensor) -> Tensor:
        step = self.scales[key]
        per_channel = step.weights.to(weights).expand(weights.shape[0], weights.shape[3])
        held = quantise(weights, per_channel[:, None, None])
        y = self.chip.multiply(key, inputs, held)
        return torch.from_numpy(y).to(weights) * (step.inputs * per_channel[:, None])


def _with_products(model: nn.Module, off_array: Collection[str], products: _Products) -> nn.Module:
    """Return a copy of `model` in evaluation mode that runs `products` on the array's layers."""
    copied = copy.deepcopy(model).eval()
    keep_dense(copied)
    for name, layer in mapped_layers(copied, off_array).items():
        hook = partial(_forward, products, off_array, name)
        layer.register_forward_hook(hook, with_kwargs=True)
    return copied


@torch.no_grad()
def _forward(
    products: _Products,
    off_array: Collection[str],
    prefix: str,
    layer: Any,
    args: Any,
    kwargs: dict[str, Any],
    _: Any,
) -> Any:
    """Replace a layer's output (a forward hook); an attention's `out_proj` may be off the array."""

    def key(name: str) -> str:
        return f"{prefix}.{name}".lstrip(".")

    def off(name: str) -> bool:
        return any(f"{key(name)}.".startswith(f"{other}.") for other in off_array)

    def convert(name: str, x: Tensor) -> Tensor:
        return x if off(name) else products.convert(key(name), x)

    def run(name: str, inputs: Tensor, weights: Tensor) -> Tensor:
        if off(name):
            return _plain(inputs, weights)
        return products.multiply(key(name), inputs, weights)

    return run_layer(layer, args, kwargs, run, convert)


def _plain(inputs: Tensor, weights: Tensor) -> Tensor:
    """Multiply in floating point, `X[g, n, i, t] W[g, i, t, m]`."""
    return inputs.flatten(2) @ weights.flatten(1, 2)


def _step(largest: Tensor) -> Tensor:
    """Return the step that maps the largest magnitude to 127; 1 if all values are 0."""
    return torch.where(largest > 0, largest / LARGEST, 1.0)
