"""Keep pruned weights at exactly 0 while the others train (METHOD section 3).

Gradients are multiplied by the mask as they are accumulated, weights after each step. The second is
not needed if masks are verified and the optimizer moves each weight by its own gradient and state
alone, as long as both are 0. On a CPU a multiplication takes as long as its memory traffic, so only
the repeating part of a mask is read: output channels a whole array apart are on the same PEs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn, optim
from torch.utils.hooks import RemovableHandle

from efat.errors import EfatError
from efat.nn.masking.layers import MappedWeight, mask_name
from efat.nn.masking.masks import masked_layers, masked_weights

ELEMENTWISE = (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.NAdam)
"""Optimizers that leave a weight of 0 at 0 where gradient and state are 0; subclasses may not."""

SMALLEST_TILED = 1 << 16
"""Elements; a smaller mask fits in the cache."""

SHORTEST_TILE = 1 << 10
"""Elements; repeating a shorter part of a mask takes longer than reading the whole."""


def keep_masked(
    model: nn.Module, optimizer: optim.Optimizer, trust_masked_gradients: bool = False
) -> list[RemovableHandle]:
    """Keep pruned weights, their gradients and their optimizer state at 0 from now on.

    Gradients are masked as they are accumulated, hence before any clipping; weights after every
    `optimizer.step()`. A deep copy of the model keeps its masks but has no optimizer: call this
    again for the copy and its own optimizer. Masks on outputs or inputs are part of the forward
    pass and need no hooks.

    Args:
        model: A model after `mask_model`.
        optimizer: The optimizer of its parameters, of any type.
        trust_masked_gradients: Do not mask weights after a step. Requires that only backward passes
            write gradients (except for scaling and clipping), that only the optimizer writes
            weights, and that `verify_masks` is called now and then, as
            `efat.training.callbacks.CheckMasksAndDivergence` does. Saves a pass over the weights.
            They are still masked if that is not enough: with an optimizer type other than torch's
            plain ones, with earlier gradients or state, with several processes (initialise them
            first), or after a change of the fault map.

    Returns:
        Handles, each to be removed with `handle.remove()`; none for `os` and `is`.

    Raises:
        EfatError: The model is not masked.
    """
    if not masked_layers(model):
        raise EfatError("keep_masked: the model has no masks; call mask_model first")
    weights = list(masked_weights(model).values())
    if not weights:
        return []
    masks = [_MaskCache(weight) for weight in weights]
    trust = _StepMasking(trust_masked_gradients and _starts_clean(weights, optimizer), masks)
    return [
        *[_on_gradient(w.tensor, mask) for w, mask in zip(weights, masks, strict=True)],
        optimizer.register_load_state_dict_post_hook(trust.withdraw),
        optimizer.register_step_post_hook(trust.mask_after_step),
    ]


def _starts_clean(weights: Sequence[MappedWeight], optimizer: optim.Optimizer) -> bool:
    """Return whether only masked gradients can move a weight from now on."""
    return (
        type(optimizer) in ELEMENTWISE
        and not optimizer.state  # no earlier momentum
        and all(weight.tensor.grad is None for weight in weights)
        # processes exchange gradients after the mask
        and not (distributed.is_available() and distributed.is_initialized())
    )


class _StepMasking:
    """Masks weights after a step, unless masked gradients are enough.

    It runs after every step, when the CPU caches hold weights, so it reads as little as possible.
    """

    def __init__(self, trusted: bool, masks: Sequence[_MaskCache]) -> None:
        self.trusted = trusted
        self.masks = masks[::-1]  # the weights stepped last are still in the cache

    def withdraw(self, *_: object) -> None:
        self.trusted = False

    def mask_after_step(self, *_: object) -> None:
        for mask in self.masks:  # not any(): a generator takes longer
            if mask.replaced or mask.buffers.get(mask.name) is not mask.mask:
                self.trusted = False  # gradients and state belong to the previous mask
        if not self.trusted:
            self._mask_weights()

    @torch.no_grad()
    def _mask_weights(self) -> None:
        for mask in self.masks:
            mask.apply_to_weight()


def _on_gradient(weight: Tensor, mask: _MaskCache) -> RemovableHandle:
    """Register the hook, also for a frozen weight, which may be trained later."""
    frozen = not weight.requires_grad
    weight.requires_grad_(True)
    handle: RemovableHandle = weight.register_post_accumulate_grad_hook(mask.apply_to_gradient)
    weight.requires_grad_(not frozen)
    return handle


class _MaskCache:
    """The current mask of a weight, for two multiplications per training step.

    It is read from the module's dictionaries each time: `.to()` and `mask_model` replace buffers,
    and an attribute access takes as long as the multiplication by a small mask.
    """

    __slots__ = ("buffers", "mask", "name", "parameter", "parameters", "replaced", "shape", "tile")

    def __init__(self, weight: MappedWeight) -> None:
        self.parameters = weight.layer._parameters
        self.buffers = weight.layer._buffers
        self.parameter, self.name = weight.parameter, mask_name(weight.parameter)
        self.mask: Tensor | None = None
        self.tile: Tensor | None = None
        self.shape: tuple[int, ...] | None = None
        self.replaced = False
        self._set_mask(self.buffers.get(self.name))

    def apply(self, values: Tensor) -> None:
        """Multiply `values` [the weight's shape] by the mask, in place, unless it was removed."""
        mask = self.buffers.get(self.name)
        if mask is not self.mask:
            self.replaced = True
            self._set_mask(mask)
        if self.tile is None:
            return
        if self.shape is not None:
            values = values.view(self.shape)
        values.mul_(self.tile)

    def _set_mask(self, mask: Tensor | None) -> None:
        """Store a new mask and its repeating part; None after `unmask_model`."""
        period = 0 if mask is None else mask_period(mask)
        tiled = mask is not None and period < len(mask)
        self.mask, self.tile = mask, mask[:period] if mask is not None and tiled else mask
        self.shape = (-1, period, *mask.shape[1:]) if mask is not None and tiled else None

    def apply_to_gradient(self, weight: Tensor) -> None:
        gradient = weight.grad
        if gradient is not None:
            self.apply(gradient)

    def apply_to_weight(self) -> None:
        weight = self.parameters[self.parameter]
        if weight is not None:
            self.apply(weight)


def mask_period(mask: Tensor) -> int:
    """Return the period of a mask in output channels (the first axis); all if it does not repeat.

    A period saves time on a CPU only: a GPU hides the memory traffic.

    >>> mask_period(torch.eye(4).repeat(100, 200)), mask_period(torch.eye(4).repeat(2, 1))
    (4, 8)
    """
    channels = len(mask)
    if mask.device.type != "cpu" or mask.numel() < SMALLEST_TILED:
        return channels
    per_channel = max(1, mask[0].numel())
    periods = (
        p for p in range(1, channels) if channels % p == 0 and p * per_channel >= SHORTEST_TILE
    )
    whole = mask.reshape(channels, -1)
    return next((p for p in periods if torch.equal(whole[p:], whole[:-p])), channels)
