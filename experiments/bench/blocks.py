"""What blocks of inputs cost in accuracy: digits, ResNet-8, layers cut by force (docs/repair.md).

Validation accuracy; the network is trained for 800 steps first, everything by fixed seeds.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from efat import SystolicArray, mask_model
from efat.data import Digits
from efat.engine import Store
from efat.hardware.fleets import uniform_fleet
from efat.models import ResNet
from efat.nn.repair import compensate, compensate_sequentially, measure_grams, remap
from efat.training import Factory, TrainingJob, TrainSpec
from efat.training.trainer import train

ARRAY, RATES, CHIPS = SystolicArray(16, 16), (0.2, 0.3, 0.4), 10
LARGEST, SEQUENTIAL, SEQUENTIAL_CHIPS = (4608, 288, 144, 72, 36), (4608, 72), 4
NETWORK = {"depth": 8, "num_classes": 10, "in_channels": 1, "width": 16}
SETUP = TrainSpec(
    Factory("efat.models.ResNet", NETWORK),
    Factory("efat.data.Digits", {"batch_size": 32}),
    10,
    {"accelerator": "cpu"},
    Factory("torch.optim.SGD", {"lr": 0.01, "momentum": 0.9}, partial=True),
)


def trained() -> nn.Module:
    model = ResNet(**NETWORK)
    with tempfile.TemporaryDirectory() as folder:
        model.load_state_dict(train(TrainingJob(SETUP, 7, 800), Store(Path(folder))).weights)
    return model.eval()


def main() -> None:
    model, data = trained(), Digits()
    data.setup("fit")
    inputs, (images, labels) = data.splits["train"][0], data.splits["val"][:2]

    @torch.no_grad()
    def mean(networks: list[nn.Module]) -> float:
        rights = [(net(images).argmax(1) == labels).float().mean().item() for net in networks]
        return 100 * float(np.mean(rights))

    print(f"baseline {mean([model]):.2f} %")
    grams = {most: measure_grams(model, inputs.split(128), largest=most) for most in LARGEST}
    for rate in RATES:
        maps = [chip.fault_map for chip in uniform_fleet(ARRAY, 1, CHIPS, rate)]
        masked = mean([mask_model(copy.deepcopy(model), each, ARRAY) for each in maps])
        print(f"{rate:.0%} faulty: masked {masked:.2f} %")
        for most, gram in grams.items():
            alone = mean([compensate(model, each, ARRAY, gram) for each in maps])
            places = [remap(model, each, ARRAY, gram) for each in maps]
            both = mean(
                [
                    compensate(model, each, ARRAY, gram, placement=place)
                    for each, place in zip(maps, places, strict=True)
                ]
            )
            print(f"  largest {most}: compensated {alone:.2f}, remapped too {both:.2f}", flush=True)
        for most in SEQUENTIAL:
            repaired = [
                compensate_sequentially(model, each, ARRAY, inputs[:512], largest=most)
                for each in maps[:SEQUENTIAL_CHIPS]
            ]
            print(
                f"  largest {most}: {len(repaired)} sequentially {mean(repaired):.2f}", flush=True
            )
