"""Fault-aware training on any `nn.Module`: masks that ride with the model (METHOD sections 2, 3).

`mask_model` makes a model compute what the array of a faulty, bypassed chip computes. What is
masked depends on the dataflow: weights (`ws`: pruned once, then `keep_masked` keeps them at exactly
0 while the rest trains), outputs before bias (`os`) or inputs as the array sees them (`is`). No
parameter is renamed and no mask enters a state dict, so a checkpoint of a masked model loads into
the plain one with `strict=True`.
"""

from efat.nn.masking.hooks import keep_masked
from efat.nn.masking.layers import MappedWeight, mapped_layers, mapped_weights, weight_layouts
from efat.nn.masking.masks import (
    MASK,
    mask_model,
    masked_layers,
    masked_weights,
    unmask_model,
    verify_masks,
)

__all__ = [
    "MASK",
    "MappedWeight",
    "keep_masked",
    "mapped_layers",
    "mapped_weights",
    "mask_model",
    "masked_layers",
    "masked_weights",
    "unmask_model",
    "verify_masks",
    "weight_layouts",
]
