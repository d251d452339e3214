"""Fault-aware training of any `nn.Module`: masks as buffers of the model (METHOD sections 2, 3).

`mask_model` makes a model compute as the array of a chip does whose faulty PEs are bypassed. The
dataflow decides what is masked: weights (`ws`: pruned once, then `keep_masked` keeps them at
exactly 0 while the rest trains), outputs before bias (`os`) or inputs of the products (`is`). No
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
