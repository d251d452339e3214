"""Convert a layer's operands into the matrix products that the array runs, and results back.

Operands have an axis of kernel taps, so that every order of `efat.hardware.mapping` can be built
from them: inputs `X[g, n, i, t]`, weights `W[g, i, t, m]`, outputs `Y[g, n, m]`. `g` is the group,
`i` the input channel, `t` the kernel tap and `m` the output channel of the group. `n` counts batch
x space:

- convolution: `n = b*P + p`, `b` the index in the batch, `p` the row-major output position of `P`;
- linear: the leading dimensions, row-major;
- attention: `n = b*L + l`, `l` the index in the sequence, for both values of `batch_first`.

The bias is not part of the products: it is added off the array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from efat.errors import EfatError
from efat.hardware import WeightLayout
from efat.nn.attention import Convert, Multiply, projections, run_attention

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
ConvTranspose = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
MappedLayer = Conv | ConvTranspose | nn.Linear | nn.MultiheadAttention
ON_ARRAY = get_args(MappedLayer)


def identity(_: str, x: Tensor) -> Tensor:
    """Return an input unchanged, in floating point."""
    return x


def layer_weights(layer: MappedLayer) -> dict[str, WeightLayout]:
    """Return the layouts of a layer's weights, by parameter name.

    An attention's `out_proj` is a layer of its own; the products of activations with activations
    (queries with keys, scores with values) have no weight and do not run on the array.
    """
    if isinstance(layer, nn.MultiheadAttention):
        names = projections(layer)
        groups = 3 if len(names) == 1 else 1
        return {n: WeightLayout(tuple(getattr(layer, n).shape), groups) for n in names}
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    transposed = isinstance(layer, get_args(ConvTranspose))
    return {"weight": WeightLayout(tuple(layer.weight.shape), groups, transposed)}


def lower_weight(layer: Conv | ConvTranspose | nn.Linear, weight: Tensor) -> Tensor:
    """Return a layer's weight as `W[g, i, t, m]`."""
    if isinstance(layer, nn.Linear):
        return weight.T.reshape(1, weight.shape[1], 1, weight.shape[0])
    first, second, *kernel = weight.shape
    grouped = weight.reshape(layer.groups, first // layer.groups, second, math.prod(kernel))
    if isinstance(layer, get_args(ConvTranspose)):
        return grouped.flip(3).permute(0, 1, 3, 2)
    return grouped.permute(0, 2, 3, 1)


def lower_inputs(layer: Conv | ConvTranspose | nn.Linear, x: Tensor) -> Tensor:
    """Return a layer's input, batch first, as `X[g, n, i, t]` (im2col; differentiable).

    A transposed convolution sees its input with `stride - 1` zeros between the elements.
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, x.shape[-1], 1)
    if isinstance(layer, get_args(ConvTranspose)):
        return _im2col(_dilate(layer, x), layer.kernel_size, _ones(layer), layer)
    padded = _pad(layer, x)  # type: ignore[arg-type]  # get_args narrows nothing
    return _im2col(padded, layer.kernel_size, layer.stride, layer)


def fold_outputs(layer: Conv | ConvTranspose | nn.Linear, x: Tensor, y: Tensor) -> Tensor:
    """Return the products `Y[g, n, m]` of input `x` in the layer's own output shape, no bias."""
    groups, _, m = y.shape
    if isinstance(layer, nn.Linear):
        return y.reshape(*x.shape[:-1], m)
    space = output_space(layer, x)
    y = y.reshape(groups, x.shape[0], *space, m)
    return y.movedim(-1, 0).movedim(1, 0).movedim(2, 0).reshape(x.shape[0], groups * m, *space)


def unfold_outputs(layer: Conv | ConvTranspose | nn.Linear, out: Tensor) -> Tensor:
    """Return an output in the layer's own shape, batch first, as `Y[g, n, m]`."""
    if isinstance(layer, nn.Linear):
        return out.reshape(1, -1, out.shape[-1])
    grouped = out.reshape(len(out), layer.groups, -1, math.prod(out.shape[2:]))
    return grouped.permute(1, 0, 3, 2).flatten(1, 2)


def output_space(layer: Conv | ConvTranspose, x: Tensor) -> tuple[int, ...]:
    """Return the spatial shape of a convolution's output."""
    if isinstance(layer, get_args(ConvTranspose)):
        sizes, strides = _dilated_sizes(layer, x), _ones(layer)
    else:
        pads = layer._reversed_padding_repeated_twice
        sizes = [size + pads[-2 * d - 1] + pads[-2 * d - 2] for d, size in enumerate(x.shape[2:])]
        strides = layer.stride
    spans = _spans(layer)
    return tuple(
        (size - span) // step + 1 for size, span, step in zip(sizes, spans, strides, strict=True)
    )


def run_layer(
    layer: MappedLayer,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    multiply: Multiply,
    convert: Convert = identity,
) -> Any:
    """Compute a layer's output with `multiply` for its matrix products.

    Args:
        layer: A layer that maps.
        args: Positional arguments of its `forward`.
        kwargs: Keyword arguments of its `forward`.
        multiply: The products; its first argument is the weight's parameter name (of an
            attention with the projection: `in_proj_weight.q`, `out_proj.weight`).
        convert: Applied to an input before im2col copies it; must map 0 to 0.
    """
    if isinstance(layer, nn.MultiheadAttention):
        return run_attention(layer, args, kwargs, multiply, convert)
    if len(args) > 1 or kwargs.get("output_size") is not None:
        raise EfatError(
            f"{type(layer).__name__}: called with output_size; it cannot be mapped onto the array; "
            "set output_padding of the layer instead"
        )
    (x,) = args or (kwargs["input"],)
    dims = 1 if isinstance(layer, nn.Linear) else len(layer.kernel_size) + 2
    batched = x if isinstance(layer, nn.Linear) or x.dim() == dims else x.unsqueeze(0)
    weights = lower_weight(layer, layer.weight)
    y = multiply("weight", lower_inputs(layer, convert("weight", batched)), weights)
    out = add_bias(layer, fold_outputs(layer, batched, y))
    return out if batched is x else out.squeeze(0)


def add_bias(layer: Conv | ConvTranspose | nn.Linear, out: Tensor) -> Tensor:
    """Add a layer's bias, if it has one, to its output [batch, channels, ...]."""
    if layer.bias is None:
        return out
    return out + broadcast_bias(layer, out)


def broadcast_bias(layer: Conv | ConvTranspose | nn.Linear, out: Tensor) -> Tensor:
    """Return the bias (0 if there is none) in a shape that broadcasts over the output."""
    if layer.bias is None:
        return out.new_zeros(())
    if isinstance(layer, nn.Linear):
        return layer.bias.to(out.dtype)
    return layer.bias.to(out.dtype).reshape(-1, *[1] * len(layer.kernel_size))


def _spans(layer: Conv | ConvTranspose) -> list[int]:
    """Return the input elements that a dilated kernel covers along each dimension."""
    return [d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]


def _ones(layer: Conv | ConvTranspose) -> tuple[int, ...]:
    return (1,) * len(layer.kernel_size)


def _pad(layer: Conv, x: Tensor) -> Tensor:
    """Pad as the layer does, with `same` padding and every padding mode."""
    pads = layer._reversed_padding_repeated_twice
    if layer.padding_mode == "zeros":
        return functional.pad(x, pads)
    # torch supports the other modes in floating point only, which represents int8 exactly
    copied = functional.pad(
        x.to(torch.promote_types(x.dtype, torch.float16)), pads, layer.padding_mode
    )
    return copied.to(x.dtype)


def _dilated_sizes(layer: ConvTranspose, x: Tensor) -> list[int]:
    """Return the spatial sizes of `_dilate`'s result."""
    pads = _dilated_pads(layer)
    strided = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], layer.stride, strict=True)]
    return [size + before + after for size, (before, after) in zip(strided, pads, strict=True)]


def _dilated_pads(layer: ConvTranspose) -> list[tuple[int, int]]:
    """Return the zeros (negative: the crop) before and after each spatial dimension."""
    spans, pads = _spans(layer), tuple(map(int, layer.padding))
    full = [span - 1 - pad for span, pad in zip(spans, pads, strict=True)]
    return [(pad, pad + extra) for pad, extra in zip(full, layer.output_padding, strict=True)]


def _dilate(layer: ConvTranspose, x: Tensor) -> Tensor:
    """Put `stride - 1` zeros between the elements and pad, so that stride 1 remains."""
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], layer.stride, strict=True)]
    dilated = x.new_zeros((*x.shape[:2], *sizes))
    elements = (..., *(slice(None, None, step) for step in layer.stride))
    dilated[elements] = x  # type: ignore[index]  # torch takes a tuple of slices
    return functional.pad(dilated, [zeros for pads in _dilated_pads(layer)[::-1] for zeros in pads])


def _im2col(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], layer: Conv | ConvTranspose
) -> Tensor:
    """Cut padded input [batch, channels, *space] into `X[g, n, i, t]`."""
    space = len(kernel)
    for d, (span, step, gap) in enumerate(zip(_spans(layer), stride, layer.dilation, strict=True)):
        x = x.unfold(2 + d, span, step)[..., ::gap]
    batch, channels = x.shape[:2]
    x = x.unflatten(1, (layer.groups, channels // layer.groups))
    order = [1, 0, *range(3, 3 + space), 2, *range(3 + space, 3 + 2 * space)]
    n = batch * math.prod(x.shape[3 : 3 + space])
    return x.permute(order).reshape(layer.groups, n, channels // layer.groups, math.prod(kernel))
