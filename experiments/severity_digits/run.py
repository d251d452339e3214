"""Which severity measure predicts best how much retraining per chip needs? Digits, ResNet-8."""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from matplotlib.figure import Figure
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
from experiments.records import Row, load, where, write
from experiments.severity_digits.table import MEASURES, NEEDED, correlation

HERE = Path(__file__).parent
BATCH, EVAL_EVERY, BUDGET, DROP = 32, 2, 200, 1.0
COLOURS = {"uniform": "#1d4ed8", "clustered": "#b3261e", "blocks": "#b45309", "lines": "#0f766e"}
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
RATES = (*(round(0.02 + 0.03 * i, 2) for i in range(15)), 0.5)


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
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    data = Digits(BATCH)
    data.setup("fit")
    rows = [row for setting in SETTINGS for row in measured(setting, data.splits)]
    write(HERE / "results.csv", rows)
    draw(load(HERE / "results.csv"))


def measured(setting: str, splits: dict) -> Iterator[dict[str, object]]:
    """Yield a row per chip: its severities, and the steps that it needs."""
    side, width = SETTINGS[setting]
    array = SystolicArray(side, side)
    torch.manual_seed(derive(0, "baseline", setting) % 2**32)
    baseline = ResNet(8, 10, 1, width)
    train(baseline, TensorBatches(*splits["train"], BATCH, shuffle=True), 900, sgd(baseline))
    target = accuracy(baseline, *splits["val"]) - DROP
    batches = TensorBatches(*splits["train"], 256)
    measures = {
        "array_rate": array_rate,
        "weight_rate": weight_rate(weight_layouts(baseline), array),
        "magnitude_rate": saliency_rate(magnitude_saliency(baseline), array),
        "taylor_rate": saliency_rate(taylor_saliency(baseline, batches), array),
    }
    for kind, i, rate in ((k, i, r) for k in KINDS for i, r in enumerate(sorted(RATES * 2))):
        began = time.perf_counter()
        fault_map = KINDS[kind](array, derive(0, kind, i), rate).chips[0].fault_map
        model = mask_model(copy.deepcopy(baseline), fault_map, array)
        before = accuracy(model, *splits["val"])
        steps = needed_steps(model, splits, target, derive(0, "order", kind, i))
        yield {
            "setting": setting, "kind": kind, "nominal_rate": rate,
            **{name: f"{measure(fault_map):.5f}" for name, measure in measures.items()},
            "before_pct": f"{before:.1f}", "needed_steps": steps,
            "elapsed_s": f"{time.perf_counter() - began:.1f}",
        }  # fmt: skip


def draw(rows: list[Row]) -> None:
    """Draw the needed steps against each severity."""
    figure = Figure(figsize=(9.5, 6), layout="constrained")
    lines = figure.subplots(len(SETTINGS), len(MEASURES), sharex="col", sharey=True)
    for line, setting in zip(lines, SETTINGS, strict=True):
        chips = where(rows, setting=setting)
        for axis, measure in zip(line, MEASURES, strict=True):
            for kind, colour in COLOURS.items():
                x, y = ([float(c[n]) for c in where(chips, kind=kind)] for n in (measure, NEEDED))
                axis.plot(x, y, "o", ms=3.5, color=colour, alpha=0.7, label=kind)
            axis.set_title(f"{measure}: rho {correlation(chips, measure):.2f}", fontsize=9)
            axis.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel(f"{setting}\nneeded steps (201: never)", fontsize=8)
    for axis in lines[-1]:
        axis.set_xlabel("severity", fontsize=8)
    lines[0][0].legend(frameon=False, fontsize=7)
    figure.savefig(HERE / "severity.png", dpi=150, facecolor="white")
