"""Small networks to mask, and a training that watches their zeros."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from efat import FaultMap, SystolicArray
from efat.nn.masking import MASK, masked_layers

ARRAY = SystolicArray(4, 4)


ORDERS = ("im2col", "im2col_spatial_first", "channel")


def random_map(rate, seed=1, array=ARRAY):
    rng = np.random.default_rng(seed)
    return FaultMap(rng.random((array.rows, array.cols)) < rate)


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, 5),
    )


def batches(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = torch.randn(8, 2, 6, 6, generator=generator)
        yield x, torch.randint(0, 5, (8,), generator=generator)


def in_layer_order(model):
    """List parameters layer by layer; prune moves its weights behind the biases, and the order in
    which a norm is summed shows in the last bit."""
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        yield from (own[name] for name in ("weight", "weight_orig", "bias") if name in own)


def train(model, optimizer, steps=5, clip=None, accumulate=1, autocast=False):
    for index, (x, y) in enumerate(batches(steps * accumulate)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = functional.cross_entropy(model(x).float(), y)
        loss.backward()
        if (index + 1) % accumulate == 0:
            if clip:
                nn.utils.clip_grad_norm_(in_layer_order(model), clip)
            optimizer.step()
            optimizer.zero_grad()


def watch_forwards(model):
    """Check at every forward of every masked layer that its pruned weights are exactly 0."""
    seen = []

    def check(layer, _):
        seen.append(int(torch.count_nonzero(layer.weight[getattr(layer, MASK) == 0])))

    for layer in masked_layers(model).values():
        layer.register_forward_pre_hook(check)
    return seen
