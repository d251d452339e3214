"""The two orders: curves of two networks, and what the same fault maps prune in either order."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from efat.hardware import FaultMap, SystolicArray
from efat.hardware.fleets import draw_fault_map
from efat.models import ResNet
from efat.nn.masking import mask_model, masked_layers
from efat.seeds import generator
from experiments.cifar10_resnet20.run import REESTIMATED
from experiments.records import write
from experiments.studies import curve_rows, run_command

HERE = Path(__file__).parent
ORDERS = ("im2col", "channel")
RATES, REPEATS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5), 5
NETWORKS = {"ResNet-20, 64x64": (20, 3, 64), "ResNet-8, 16x16": (8, 1, 16)}
"""Depth, input channels, and side of the array."""
DIGITS = (
    "+experiment=resnet_fat", "fault_rates=half", "training.budget_epochs=2",
    "training.eval_every_epochs=0.5",
)  # fmt: skip


def pruned(network: str, order: str, fault_map: FaultMap) -> dict[str, float]:
    """Return the shares of the convolutions' weights and kernels that a fault map prunes."""
    depth, channels, side = NETWORKS[network]
    array = SystolicArray(side, side, order)
    model = mask_model(ResNet(depth, 10, channels), fault_map, array)
    layers = dict(model.named_modules())
    convolutions = [
        layers[n] for n in masked_layers(model) if isinstance(layers[n], torch.nn.Conv2d)
    ]
    kept = torch.cat([(c.weight != 0).flatten(0, 1).flatten(1) for c in convolutions])
    return {
        "weights_pruned": 1 - float(kept.float().mean()),
        "kernels_lost": float((~kept.any(dim=1)).float().mean()),
        "kernels_touched": float((~kept.all(dim=1)).float().mean()),
    }


def pruned_rows() -> list[dict[str, object]]:
    cases = [(n, o, r, i) for n in NETWORKS for o in ORDERS for r in RATES for i in range(REPEATS)]
    rows = []
    for network, order, rate, repeat in cases:
        array = SystolicArray(NETWORKS[network][2], NETWORKS[network][2], order)
        fault_map = draw_fault_map(array, rate, generator(0, "analyse", rate, repeat))
        key = {"network": network, "order": order, "fault_rate": rate, "repeat": repeat}
        rows.append(key | pruned(network, order, fault_map))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder: {train,test}.parquet")
    parser.add_argument("--weights", type=Path, required=True, help="resnet20-12fca82f.th")
    parser.add_argument("--out", type=Path, default=Path("outputs/channel-order").absolute())
    args = parser.parse_args()
    write(HERE / "pruned.csv", pruned_rows())
    cifar10 = (
        "+experiment=cifar10_resnet20", f"data.path={args.data.absolute()}",
        f"baseline.checkpoint={args.weights.absolute()}", *REESTIMATED,
        "fault_rates.maps_per_rate=3",
    )  # fmt: skip
    rows = []
    for network, words in (("cifar10", cifar10), ("digits", DIGITS)):
        for order in ORDERS:
            folder = args.out / f"{network}-{order}"
            run_command(folder, *words, "stage=analyse", f"array.order={order}")
            rows += curve_rows(folder, f"{network} {order}")
            if network == "digits":
                figure = HERE / f"{network}_{order}.png"
                shutil.copy(folder / "figures/fault_rates.png", figure)
    write(HERE / "results.csv", rows)
