"""The saliency of each weight of a trained model, for `efat.resilience.saliency_rate`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from efat.errors import EfatError
from efat.hardware import WeightLayout
from efat.nn.masking import mapped_weights

Saliencies = list[tuple[WeightLayout, NDArray[Any]]]


def magnitude_saliency(model: nn.Module, off_array: Collection[str] = ()) -> Saliencies:
    """Return `|w|` of every weight on the array."""
    weights = mapped_weights(model, off_array).values()
    return [(w.layout, w.tensor.detach().abs().cpu().double().numpy()) for w in weights]


def taylor_saliency(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    off_array: Collection[str] = (),
) -> Saliencies:
    """Return `|w * dL/dw|` of every weight on the array, `L` the mean loss over `batches`.

    It is the first-order estimate of the loss change if a weight is pruned (Molchanov et al., CVPR
    2019). The model is run in evaluation mode and not changed; no gradient is stored.

    Args:
        model: A trained model.
        batches: (inputs, targets), from the training data.
        loss: Mean loss of (outputs, targets).
        off_array: Names of layers that are not on the array.

    Raises:
        EfatError: No batch given.
    """
    weights = mapped_weights(model, off_array).values()
    tensors = [weight.tensor for weight in weights]
    totals, samples = [torch.zeros_like(t, dtype=torch.float64) for t in tensors], 0
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for inputs, targets in batches:
            gradients = torch.autograd.grad(loss(model(inputs), targets), tensors)
            samples += len(targets)
            for total, gradient in zip(totals, gradients, strict=True):
                total += gradient.double() * len(targets)
    finally:
        for module, mode in training.items():
            module.training = mode
    if not samples:
        raise EfatError("taylor_saliency: no batch given; some training samples are needed")
    products = (
        (w.tensor.detach().double() * total / samples).abs().cpu().numpy()
        for w, total in zip(weights, totals, strict=True)
    )
    return [(w.layout, np.asarray(p)) for w, p in zip(weights, products, strict=True)]
