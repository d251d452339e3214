"""Small networks, trainings and fault maps that the tests of training share."""

from dataclasses import replace

import numpy as np

from efat import FaultMap, SystolicArray
from efat.training import Factory, TrainSpec

ARRAY = SystolicArray(8, 8)
RNG = np.random.default_rng(0)
FUSED = FaultMap(RNG.random((8, 8)) < 0.4)
MEMBER = FaultMap(FUSED.faulty & (RNG.random((8, 8)) < 0.5))
FAULTS = FaultMap(np.random.default_rng(0).random((8, 8)) < 0.3)

DIGITS = Factory("efat.data.Digits", {"batch_size": 32})


def mlp(hidden):
    return Factory("efat.models.MLP", {"sizes": [64, hidden, 10]})


def sgd(lr, momentum=0.9):
    return Factory("torch.optim.SGD", {"lr": lr, "momentum": momentum}, partial=True)


def spec(**changes):
    plain = TrainSpec(mlp(24), DIGITS, 10, {"accelerator": "cpu"}, sgd(0.05))
    return replace(plain, **changes)


RESNET = Factory(
    "efat.models.ResNet", {"depth": 8, "num_classes": 10, "in_channels": 1, "width": 4}
)
SETUP = spec(model=RESNET, optimizer=sgd(0.01))
