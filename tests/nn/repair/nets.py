"""Small layers and networks to repair, their inputs and faults."""

import numpy as np
import torch
from torch import nn

from efat import FaultMap, SystolicArray

ARRAY = SystolicArray(5, 4)


def a_map(seed, rate=0.3, array=ARRAY):
    rng = np.random.default_rng(seed)
    return FaultMap(rng.random((array.rows, array.cols)) < rate)


def correlated(*shape, seed=0):
    """Inputs with a mean and with neighbours that resemble each other, as activations do."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    return (x + x.roll(1, 1) + x.roll(1, -1)).relu()


LAYERS = {
    "conv": (lambda: nn.Conv2d(3, 7, 3, padding=1), (6, 3, 5, 5)),
    "conv, no bias": (lambda: nn.Conv2d(3, 7, 3, stride=2, bias=False), (9, 3, 7, 7)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (6, 4, 6, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (6, 4, 6, 6)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 5, 3, stride=2), (6, 3, 5, 5)),
    "linear": (lambda: nn.Linear(13, 9), (60, 13)),
    "linear, no bias": (lambda: nn.Linear(13, 9, bias=False), (60, 13)),
}


def layer_and_inputs(kind, seed=0):
    torch.manual_seed(seed)
    make, shape = LAYERS[kind]
    return nn.Sequential(make()), correlated(*shape, seed=seed)


def reconstruction(model, layer, x):
    """Mean squared difference of outputs, in float64."""
    return (model.double()(x.double()) - layer.double()(x.double())).square().mean().item()


def small_net(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 9, 3, stride=2, bias=False),
        nn.BatchNorm2d(9),
        nn.Flatten(),
        nn.Linear(81, 5),
    )
    model.train()(correlated(64, 1, 8, 8))
    return model.eval()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        return self.linear(self.attention(x, x + 1, x)[0])
