"""Which severity measure predicts best how much retraining a chip needs? Digits, ResNet-8.

python experiments/2026-11-22-severity-digits/run.py
"""

from __future__ import annotations

import copy
import csv
import time
from pathlib import Path

import torch
from torch import nn

from efat.data import Digits
from efat.data.loaders import TensorBatches
from efat.hardware import SystolicArray
from efat.hardware.fleets import block_fleet, clustered_fleet, line_fleet, uniform_fleet
from efat.models import ResNet
from efat.nn import magnitude_saliency, taylor_saliency
from efat.nn.masking import keep_masked, mask_model, weight_layouts
from efat.resilience import array_rate, saliency_rate, weight_rate
from efat.seeds import derive

HERE = Path(__file__).parent
BATCH, EVAL_EVERY, BUDGET, DROP = 32, 2, 200, 1.0
SETTINGS = {  # name: side of the array, width of the network's first stage
    "16x16 array, width 16": (16, 16),
    "64x64 array, width 8": (64, 8),
}
KINDS = {
    "uniform": lambda array, seed, rate: uniform_fleet(array, seed, 1, rate),
    "clustered": lambda array, seed, rate: clustered_fleet(array, seed, 1, rate, 12.0, 1.5),
    "blocks": lambda array, seed, rate: block_fleet(
        array, seed, 1, rate, 0.5, array.rows // 4, array.cols // 4
    ),
    "lines": lambda array, seed, rate: line_fleet(array, seed, 1, rate / 2, rate / 2),
}
RATES = [
    0.02,
    0.05,
    0.08,
    0.11,
    0.14,
    0.17,
    0.2,
    0.23,
    0.26,
    0.29,
    0.32,
    0.35,
    0.38,
    0.41,
    0.44,
    0.5,
]


@torch.no_grad()
def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    return 100 * (model(x).argmax(1) == y).double().mean().item()


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)


def train(model: nn.Module, batches: TensorBatches, steps: int, optimizer: torch.optim.SGD) -> None:
    model.train()
    while steps > 0:
        for x, y in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            steps -= 1
            if steps == 0:
                return


def needed_steps(model: nn.Module, splits: dict, target: float, seed: int) -> int:
    """Return the first recorded step at which validation reaches `target`; BUDGET + 1 if never."""
    optimizer = sgd(model)
    keep_masked(model, optimizer)
    torch.manual_seed(seed)
    done, batches = 0, TensorBatches(*splits["train"], BATCH, shuffle=True)
    if accuracy(model, *splits["val"]) >= target:
        return 0
    while done < BUDGET:
        for x, y in batches:
            model.train()
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            done += 1
            if done % EVAL_EVERY == 0 and accuracy(model, *splits["val"]) >= target:
                return done
            if done >= BUDGET:
                break
    return BUDGET + 1


def main() -> None:
    torch.set_num_threads(1)
    data = Digits(BATCH)
    data.setup("fit")
    splits = data.splits
    with (HERE / "results.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(
            ["setting", "kind", "nominal_rate", "array_rate", "weight_rate", "magnitude_rate",
             "taylor_rate", "before_pct", "needed_steps", "elapsed_s"]
        )  # fmt: skip
        for setting, (side, width) in SETTINGS.items():
            array = SystolicArray(side, side)
            torch.manual_seed(derive(0, "baseline", setting) % 2**32)
            baseline = ResNet(8, 10, 1, width)
            train(
                baseline, TensorBatches(*splits["train"], BATCH, shuffle=True), 900, sgd(baseline)
            )
            target = accuracy(baseline, *splits["val"]) - DROP
            print(setting, "baseline", target + DROP, flush=True)
            batches = TensorBatches(*splits["train"], 256)
            measures = [
                array_rate,
                weight_rate(weight_layouts(baseline), array),
                saliency_rate(magnitude_saliency(baseline), array),
                saliency_rate(taylor_saliency(baseline, batches), array),
            ]
            for kind, draw in KINDS.items():
                for i, rate in enumerate(sorted(RATES * 2)):
                    began = time.perf_counter()
                    fault_map = draw(array, derive(0, kind, i), rate).chips[0].fault_map
                    model = mask_model(copy.deepcopy(baseline), fault_map, array)
                    before = accuracy(model, *splits["val"])
                    steps = needed_steps(model, splits, target, derive(0, "order", kind, i))
                    severities = [f"{measure(fault_map):.5f}" for measure in measures]
                    taken = f"{time.perf_counter() - began:.1f}"
                    rows.writerow([setting, kind, rate, *severities, f"{before:.1f}", steps, taken])
                    file.flush()
                    print(
                        setting, kind, rate, *severities, f"{before:.1f}", steps, taken, flush=True
                    )


if __name__ == "__main__":
    main()
