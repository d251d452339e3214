"""What the same fault maps prune in either order: weights, whole 3x3 kernels, kernels touched.

python experiments/2026-11-22-channel-order/pruned.py
"""

from __future__ import annotations

from pathlib import Path

import torch

from efat.hardware import SystolicArray
from efat.hardware.fleets import draw_fault_map
from efat.io import write_csv
from efat.models import ResNet
from efat.nn.masking import mask_model, masked_layers
from efat.seeds import generator

HERE = Path(__file__).parent
RATES, REPEATS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5), 5
NETWORKS = {"ResNet-20, 64x64": (20, 3, 64), "ResNet-8, 16x16": (8, 1, 16)}


def kernel_masks(model: torch.nn.Module) -> list[torch.Tensor]:
    """Return the mask of every convolution, [kernels, taps]; 1: kept."""
    layers = dict(model.named_modules())
    convs = (layers[name] for name in masked_layers(model))
    weights = [conv.weight for conv in convs if isinstance(conv, torch.nn.Conv2d)]
    return [(weight != 0).flatten(0, 1).flatten(1) for weight in weights]


def main() -> None:
    rows = []
    for network, (depth, channels, side) in NETWORKS.items():
        for order in ("im2col", "channel"):
            array = SystolicArray(side, side, order)
            for rate, repeat in ((rate, i) for rate in RATES for i in range(REPEATS)):
                fault_map = draw_fault_map(array, rate, generator(0, "analyse", rate, repeat))
                model = mask_model(ResNet(depth, 10, channels), fault_map, array)
                kept = torch.cat(kernel_masks(model))
                rows.append(
                    {
                        "network": network,
                        "order": order,
                        "fault_rate": rate,
                        "repeat": repeat,
                        "weights_pruned": 1 - float(kept.float().mean()),
                        "kernels_lost": float((~kept.any(dim=1)).float().mean()),
                        "kernels_touched": float((~kept.all(dim=1)).float().mean()),
                    }
                )
    write_csv(HERE / "pruned.csv", rows)


if __name__ == "__main__":
    main()
