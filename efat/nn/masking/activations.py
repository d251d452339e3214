"""Masks on outputs and inputs: the effect of bypassed PEs in which no weight stays.

Output-stationary: the output elements of a faulty PE are 0 before bias. Input-stationary: its input
elements are 0 in the matrix product. An input element of a convolution occurs once per window, so
the product is computed from the windows. Both are part of the forward pass: gradients follow.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from efat.hardware import SystolicArray, reduction_index
from efat.nn.lowering import MappedLayer, broadcast_bias, run_layer

HEALTHY = "_efat_healthy_pes"
"""Buffer of a masked layer, bool [rows, cols]: the healthy PEs; not persistent."""


NESTED = "_efat_use_nested_tensor"
"""Attribute of a `nn.TransformerEncoder`: its `use_nested_tensor` before `keep_dense`."""


def keep_dense(model: nn.Module) -> None:
    """Make transformer encoders in `model` keep padded positions in evaluation, as in training.

    With a padding mask, torch packs the other positions into nested tensors, for which the products
    of a masked layer are not defined; `n` counts padded positions too. The output at a padded
    position is then a value to ignore; the unmasked encoder returns 0 there.
    """
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and not hasattr(module, NESTED):
            setattr(module, NESTED, module.use_nested_tensor)
            module.use_nested_tensor = False


def undo_keep_dense(model: nn.Module) -> None:
    """Restore the transformer encoders in `model` to their state before `keep_dense`."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and hasattr(module, NESTED):
            module.use_nested_tensor = getattr(module, NESTED)
            delattr(module, NESTED)


def mask_activations(layer: MappedLayer, healthy: Tensor, array: SystolicArray) -> None:
    """Make `layer`, in place, compute as an `os` or `is` array does.

    Args:
        layer: The layer; an attention masks the products of its `out_proj` where that is masked.
        healthy: bool [rows, cols], False where a PE is faulty.
        array: The array.
    """
    layer.register_buffer(HEALTHY, healthy.clone(), persistent=False)
    # A hook, not another `forward`: torch's fused transformer path is off if there are hooks.
    layer.register_forward_hook(partial(masked_forward, array), with_kwargs=True)


def masked_forward(
    array: SystolicArray, layer: Any, args: Any, kwargs: dict[str, Any], out: Any
) -> Any:
    """Replace the output of a masked layer (a forward hook).

    Torch has already run the unmasked attention once, so under the same seed its dropout draws
    other elements than in the unmasked model.
    """
    if array.dataflow == "os" and not isinstance(layer, nn.MultiheadAttention):
        return torch.where(_kept_outputs(layer, array, out), out, broadcast_bias(layer, out))
    return run_layer(layer, args, kwargs, partial(_multiply, layer, array))


def _kept_outputs(layer: Any, array: SystolicArray, out: Tensor) -> Tensor:
    """Return the mask of an output [batch, channels, ...] or [..., features]: True is healthy."""
    if isinstance(layer, nn.Linear):
        by_n = out
    else:
        batched = out if out.dim() == len(layer.kernel_size) + 2 else out.unsqueeze(0)
        by_n = batched.movedim(1, -1)
    channels = by_n.shape[-1]
    rows = torch.arange(math.prod(by_n.shape[:-1]), device=out.device)
    cols = torch.arange(channels, device=out.device) % (channels // getattr(layer, "groups", 1))
    keep = _pick(getattr(layer, HEALTHY), rows, cols, array).reshape(by_n.shape)
    return keep if isinstance(layer, nn.Linear) else keep.movedim(-1, 1).reshape(out.shape)


def _multiply(
    layer: Any, array: SystolicArray, name: str, inputs: Tensor, weights: Tensor
) -> Tensor:
    """Run the products `X[g, n, i, t] W[g, i, t, m]` with the elements of faulty PEs at 0."""
    owner = layer.out_proj if name == "out_proj.weight" else layer
    healthy = owner._buffers.get(HEALTHY)
    groups, n, i, taps = inputs.shape
    n_index = torch.arange(n, device=inputs.device)
    if healthy is not None and array.dataflow == "is":
        channel, tap = np.indices((i, taps))
        k = torch.from_numpy(reduction_index(channel, tap, i, taps, array.order)).to(inputs.device)
        keep = _pick(healthy, k.flatten(), n_index, array).T.reshape(n, i, taps)
        inputs = inputs.masked_fill(~keep, 0)
    y = inputs.reshape(groups, n, i * taps) @ weights.reshape(groups, i * taps, -1)
    if healthy is not None and array.dataflow == "os":
        m_index = torch.arange(y.shape[-1], device=y.device)
        y = y.masked_fill(~_pick(healthy, n_index, m_index, array), 0)
    return y


def _pick(healthy: Tensor, rows: Tensor, cols: Tensor, array: SystolicArray) -> Tensor:
    """Return whether the PEs of `rows` and `cols` are healthy, [len(rows), len(cols)]."""
    return healthy[rows % array.rows][:, cols % array.cols]
