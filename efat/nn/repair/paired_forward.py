"""Fault-free and repaired samples side by side in one batch, twice the calibration set.

One pass is enough: at each layer the first half gives the outputs to reproduce, the second half
the inputs to do it from; then the layer is repaired, and the second half goes on through it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from efat.errors import EfatError
from efat.nn.masking import mapped_layers
from efat.nn.masking.activations import keep_dense
from efat.nn.repair.weight_matrices import join

PairedStep = Callable[[str, Tensor, Tensor], Tensor]
"""Repairs a layer and runs it: (its weight's name, inputs, fault-free outputs) to its outputs."""


def refuse_attention(model: nn.Module, off_array: Collection[str], who: str) -> None:
    """Raise EfatError for a network whose layers do not all run as modules."""
    layers = mapped_layers(model, off_array)
    attentions = [n for n, layer in layers.items() if isinstance(layer, nn.MultiheadAttention)]
    if attentions:
        raise EfatError(
            f"{who}: attention {attentions[0]!r} found; use compensate, or name it in off_array"
        )


def run_side_by_side(
    model: nn.Module, inputs: Tensor, advance: PairedStep, who: str, off_array: Collection[str]
) -> None:
    """Run a fault-free network once, in evaluation mode, with `advance` for its second half.

    Memory: the activations of twice the calibration set, those alive at one time.

    Args:
        model: The fault-free network; it stays as it is.
        inputs: The calibration set, [samples, ...].
        advance: Called in the order in which layers run, again where one runs again.
        who: For the message of an error.
        off_array: Names of layers that are not on the array.

    Raises:
        EfatError: A layer whose input is not batch first.
    """
    runner = copy.deepcopy(model).eval()
    keep_dense(runner)
    for name, layer in mapped_layers(runner, off_array).items():
        hook = partial(_run_both, advance, len(inputs), name, who)
        layer.register_forward_hook(hook, with_kwargs=True)
    runner(torch.cat([inputs, inputs]))


def _run_both(
    advance: PairedStep,
    samples: int,
    prefix: str,
    who: str,
    _: Any,
    args: Any,
    kwargs: Any,
    out: Tensor,
) -> Tensor:
    """Replace the repaired half of a layer's output (a forward hook)."""
    x = args[0] if args else kwargs["input"]
    if len(x) % (2 * samples):
        raise EfatError(
            f"{who}: {prefix!r} sees {tuple(x.shape)} for {2 * samples} samples, which is not "
            "batch first; use compensate"
        )
    half = len(x) // 2
    there = advance(join(prefix, "weight"), x[half:], out[:half])
    return torch.cat([out[:half], there])
