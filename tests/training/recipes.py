"""A network, a fault map and its member to try recipes on."""

import numpy as np

from efat import FaultMap, SystolicArray
from efat.training.jobs import TrainSpec

ARRAY = SystolicArray(8, 8)


RNG = np.random.default_rng(0)


FUSED = FaultMap(RNG.random((8, 8)) < 0.4)


MEMBER = FaultMap(FUSED.faulty & (RNG.random((8, 8)) < 0.5))


SETUP = TrainSpec(
    {
        "_target_": "efat.models.ResNet",
        "depth": 8,
        "num_classes": 10,
        "in_channels": 1,
        "width": 4,
    },
    {"_target_": "efat.data.Digits", "batch_size": 32},
    10,
    {"accelerator": "cpu"},
    {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.01, "momentum": 0.9},
)
