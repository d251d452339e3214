"""Attention on the array: its projections are products; torch computes the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Multiply = Callable[[str, Tensor, Tensor], Tensor]
"""Runs one layer's products: (name, X[g, n, i, t], W[g, i, t, m]) to Y[g, n, m]."""

Convert = Callable[[str, Tensor], Tensor]
"""Turns a layer's input into the array's operand type: (name, x) to x."""


def projections(layer: nn.MultiheadAttention) -> list[str]:
    """Return the names of an attention's input projections."""
    if layer._qkv_same_embed_dim:
        return ["in_proj_weight"]
    return ["q_proj_weight", "k_proj_weight", "v_proj_weight"]


def run_attention(
    layer: nn.MultiheadAttention,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    multiply: Multiply,
    convert: Convert,
) -> Any:
    """Project with `multiply`; torch computes the attention with identity projections.

    The arguments are those of `efat.nn.lowering.run_layer`.

    A product with the identity is exact, so torch computes masks, dropout, `bias_k` and the rest.
    """
    call = dict(zip(_ATTENTION_ARGUMENTS, args, strict=False)) | kwargs
    tensors = [call.pop(name) for name in ("query", "key", "value")]
    swap = layer.batch_first and tensors[0].dim() == 3
    tensors = [x.transpose(0, 1) if swap else x for x in tensors]
    names = projections(layer)
    weights = [getattr(layer, name) for name in names]
    if len(names) == 1:
        weights = weights[0].chunk(3)
        names = [f"in_proj_weight.{part}" for part in "qkv"]
    bias = layer.in_proj_bias
    biases = [None] * 3 if bias is None else bias.chunk(3)
    projected = [
        _project(name, x, weight, part, multiply, convert)
        for name, x, weight, part in zip(names, tensors, weights, biases, strict=True)
    ]
    out, scores = _attend(layer, projected, call)
    out = _project(
        "out_proj.weight", out, layer.out_proj.weight, layer.out_proj.bias, multiply, convert
    )
    return (out.transpose(0, 1) if swap else out), scores


_ATTENTION_ARGUMENTS = (
    "query", "key", "value", "key_padding_mask", "need_weights", "attn_mask",
    "average_attn_weights", "is_causal",
)  # fmt: skip


def _project(
    name: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    multiply: Multiply,
    convert: Convert,
) -> Tensor:
    """Multiply [length, batch, features] (or [length, features]); `n = b*length + l`."""
    by_n = convert(name, x.transpose(0, 1) if x.dim() == 3 else x)
    y = multiply(name, by_n.reshape(1, -1, x.shape[-1], 1), weight.T[None, :, None, :])
    out = y.reshape(*by_n.shape[:-1], weight.shape[0])
    out = out.transpose(0, 1) if x.dim() == 3 else out
    return out if bias is None else out + bias.to(out.dtype)


def _attend(
    layer: nn.MultiheadAttention, projected: list[Tensor], call: dict[str, Any]
) -> tuple[Tensor, Tensor | None]:
    """Run torch's attention on projected [length, batch, E], without any projection."""
    identity = torch.eye(layer.embed_dim, dtype=projected[0].dtype, device=projected[0].device)
    query, key, value = projected
    masks = [
        functional._canonical_mask(
            mask=call.pop(name, None), mask_name=name, other_type=None, other_name="",
            target_type=query.dtype, check_other=False,
        )
        for name in ("key_padding_mask", "attn_mask")
    ]  # fmt: skip
    return functional.multi_head_attention_forward(
        query, key, value, layer.embed_dim, layer.num_heads, None, None,
        layer.bias_k, layer.bias_v, layer.add_zero_attn, layer.dropout,
        identity, None,
        training=layer.training, key_padding_mask=masks[0], attn_mask=masks[1],
        use_separate_proj_weight=True,
        q_proj_weight=identity, k_proj_weight=identity, v_proj_weight=identity, **call,
    )  # fmt: skip
