"""Recompute BatchNorm statistics under the mask."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from efat.errors import EfatError
from efat.nn.repair.batch_norm import BatchNorm


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Any]) -> nn.Module:
    """Return a copy of a masked network with BatchNorm statistics of its own activations.

    The statistics are averages over batches in training mode (`torch.optim.swa_utils.update_bn`):
    dropout is on, and each batch is normalised by its own statistics. Use batches of at least 100
    samples.

    Args:
        model: A network after `mask_model`.
        batches: Its inputs, or (inputs, targets), with or without training augmentation (see
            docs/repair.md for the difference).

    Raises:
        EfatError: The network has no BatchNorm with running statistics.
    """
    if not has_statistics(model):
        raise EfatError("recalibrate: the model has no BatchNorm; use rescale, or compensate")
    copied = copy.deepcopy(model)
    update_bn(batches, copied)
    return copied.eval()


def has_statistics(model: nn.Module) -> bool:
    """Return whether there is a BatchNorm with running statistics."""
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    return any(norm.running_mean is not None for norm in norms)
