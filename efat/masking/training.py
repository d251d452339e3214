"""Keeping what is pruned at exactly 0 while the rest trains (METHOD section 3).

Gradients are multiplied by the mask as they come, weights after each step. Where somebody watches
over the masks, the second can be left out for an optimizer that moves each weight by its own
gradient and state alone, as long as both are 0. On a CPU a multiplication takes the time of the
memory that it touches, so that of a mask only the part that repeats is read: output channels that
are a whole array apart lie on the same PEs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, distributed, nn, optim
from torch.utils.hooks import RemovableHandle

from efat.errors import EfatError
from efat.masking.masks import masked_layers, masked_weights
from efat.masking.weights import MappedWeight, mask_name

ELEMENTWISE = (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.NAdam)
"""Optimizers that leave a weight of 0 at 0 where gradient and state are 0; subclasses may not."""

SMALLEST_TILED = 1 << 16
"""Elements; a smaller mask is in the cache anyway."""

SHORTEST_TILE = 1 << 10
"""Elements; repeating a shorter part of a mask takes longer than reading the whole."""


def keep_masked(
    model: nn.Module, optimizer: optim.Optimizer, guarded: bool = False
) -> list[RemovableHandle]:
    """Keep pruned weights, their gradients and their optimizer state at 0 from now on.

    Gradients are masked as they are accumulated, hence before any clipping; weights after every
    `optimizer.step()`. A deep copy of the model keeps its masks but, like any copy, has no
    optimizer: call this again for the copy and its own optimizer. Masks on outputs or inputs need
    nothing: they are part of the forward pass, and gradients follow.

    Args:
        model: A model that went through `mask_model`.
        optimizer: The optimizer of its parameters, of any type.
        guarded: Weights need not be masked after a step to which masked gradients were all there
            was, because nothing but the optimizer writes weights and `verify_masks` is called
            along the way, as `efat.callbacks.MaskGuard` does. Saves a pass over the weights.

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
    masks = [_CurrentMask(weight) for weight in weights]
    handles: list[RemovableHandle] = [
        _on_gradient(weight.tensor, mask) for weight, mask in zip(weights, masks, strict=True)
    ]
    trust = _Trust(guarded, optimizer)
    return [
        *handles,
        optimizer.register_load_state_dict_post_hook(trust.withdraw),
        optimizer.register_step_post_hook(partial(_mask_after_step, masks, trust)),
    ]


class _Trust:
    """Whether masked gradients are enough: nothing else can have moved a pruned weight."""

    def __init__(self, guarded: bool, optimizer: optim.Optimizer) -> None:
        fresh = not optimizer.state  # no old momentum
        self.given = guarded and fresh and type(optimizer) in ELEMENTWISE

    def withdraw(self, *_: object) -> None:
        self.given = False


def _on_gradient(weight: Tensor, mask: _CurrentMask) -> RemovableHandle:
    """Register for a weight that is frozen too: it may be trained later."""
    frozen = not weight.requires_grad
    weight.requires_grad_(True)
    handle: RemovableHandle = weight.register_post_accumulate_grad_hook(mask.apply_to_gradient)
    weight.requires_grad_(not frozen)
    return handle


class _CurrentMask:
    """The mask that a weight has now, for two multiplications a training step.

    Looked up each time, since `.to()` and `mask_model` replace buffers; in dictionaries, since an
    attribute of a module takes as long to find as a small mask to apply.
    """

    def __init__(self, weight: MappedWeight) -> None:
        self.parameters = weight.layer._parameters
        self.buffers = weight.layer._buffers
        self.parameter, self.name = weight.parameter, mask_name(weight.parameter)
        self.mask: Tensor | None = None
        self.tile: Tensor | None = None
        self.shape: tuple[int, ...] | None = None
        self.replaced = False
        self.masked_gradient: tuple[Tensor, int] | None = None
        self._look_at(self.buffers.get(self.name))

    def apply(self, values: Tensor) -> None:
        """Multiply `values`, of the weight's shape, by the mask in place, if there still is one."""
        mask = self.buffers.get(self.name)
        if mask is not self.mask:
            self.replaced = True
            self._look_at(mask)
        if self.tile is None:
            return
        if self.shape is not None:
            values = values.view(self.shape)
        values.mul_(self.tile)

    def _look_at(self, mask: Tensor | None) -> None:
        """Find the part of a new mask that repeats; None follows `unmask_model`."""
        period = 0 if mask is None else mask_period(mask)
        tiled = mask is not None and period < len(mask)
        self.mask, self.tile = mask, mask[:period] if mask is not None and tiled else mask
        self.shape = (-1, period, *mask.shape[1:]) if mask is not None and tiled else None

    def apply_to_gradient(self, weight: Tensor) -> None:
        gradient = weight.grad
        if gradient is not None:
            self.apply(gradient)
            self.masked_gradient = gradient, gradient._version

    def apply_to_weight(self) -> None:
        weight = self.parameters[self.parameter]
        if weight is not None:
            self.apply(weight)

    def take_masked_gradient(self) -> bool:
        """Return whether the gradient is still as it was when it was masked, and forget it."""
        masked, self.masked_gradient = self.masked_gradient, None
        weight = self.parameters[self.parameter]
        self.replaced |= self.buffers.get(self.name) is not self.mask
        if masked is None or weight is None or self.replaced:  # the state may be of another mask
            return False
        return weight.grad is masked[0] and masked[0]._version == masked[1]


@torch.no_grad()
def _mask_after_step(masks: Sequence[_CurrentMask], trust: _Trust, *_: object) -> None:
    alone = not (distributed.is_available() and distributed.is_initialized())
    for mask in reversed(masks):  # the last weights that were stepped are still in the cache
        # processes exchange gradients after they were masked
        if not (mask.take_masked_gradient() and trust.given and alone):
            mask.apply_to_weight()


def mask_period(mask: Tensor) -> int:
    """Return after how many output channels (the first axis) a mask repeats; all if it does not.

    A period is worth it on a CPU alone: a GPU hides what memory costs.

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
