"""The paired forward pass: the calibration set twice in one batch, fault-free and repaired.

One pass is enough: at each layer the first half gives the fault-free outputs, the second half the
inputs in the repaired network. The layer is repaired and then run on the second half.
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


def refuse_attention(model: nn.Module, off_array: Collection[str], caller: str) -> None:
    """Raise EfatError for a network whose layers do not all run as modules."""
    layers = mapped_layers(model, off_array)
    attentions = [n for n, layer in layers.items() if isinstance(layer, nn.MultiheadAttention)]
    if attentions:
        raise EfatError(
            f"{caller}: attention {attentions[0]!r} found; use compensate, or name it in off_array"
        )


def run_paired(
    model: nn.Module, inputs: Tensor, advance: PairedStep, caller: str, off_array: Collection[str]
) -> None:
    """Run a fault-free network once, in evaluation mode, with `advance` for the second half.

    Memory: the live activations of twice the calibration set.

    Args:
        model: The fault-free network; it stays as it is.
        inputs: The calibration set, [samples, ...].
        advance: Called for each run of a layer, in the order of the forward pass.
        caller: The public function, for error messages.
        off_array: Names of layers that are not on the array.

    Raises:
        EfatError: A layer whose input is not batch first.
    """
    runner = copy.deepcopy(model).eval()
    keep_dense(runner)
    for name, layer in mapped_layers(runner, off_array).items():
        hook = partial(_run_both, advance, len(inputs), name, caller)
        layer.register_forward_hook(hook, with_kwargs=True)
    runner(torch.cat([inputs, inputs]))


def _run_both(
    advance: PairedStep,
    samples: int,
    prefix: str,
    caller: str,
    _: Any,
    args: Any,
    kwargs: Any,
    out: Tensor,
) -> Tensor:
    """Replace the repaired half of a layer's output (a forward hook)."""
    x = args[0] if args else kwargs["input"]
    if len(x) % (2 * samples):
        raise EfatError(
            f"{caller}: {prefix!r} sees {tuple(x.shape)} for {2 * samples} samples, which is not "
            "batch first; use compensate"
        )
    half = len(x) // 2
    repaired = advance(join(prefix, "weight"), x[half:], out[:half])
    return torch.cat([out[:half], repaired])
