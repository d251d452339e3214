"""Published ResNet-20 in int8 on an emulated 256x256 array with a few undetected stuck-at PEs."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from efat.hardware import SystolicArray
from efat.hardware.emulation import ArrayFaults, StuckAt
from efat.nn import calibrate, emulate
from efat.seeds import generator
from experiments.records import Row, load, where, write
from experiments.repair.run import images, published_resnet20

HERE = Path(__file__).parent
INK = "#1f2937"


@torch.no_grad()
def accuracy(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, batch: int = 100) -> float:
    right = sum(
        int((model(a).argmax(1) == b).sum())
        for a, b in zip(x.split(batch), y.split(batch), strict=True)
    )
    return 100 * right / len(y)


def chip(seed: int, count: int, bits: tuple[int, ...], columns: int) -> list[StuckAt]:
    """Draw `count` distinct PEs within the first `columns`, each with one psum bit stuck at 0/1."""
    rng = generator(seed, "stuck-at", count, bits, columns)
    places = rng.choice(256 * columns, size=count, replace=False)
    return [
        StuckAt(
            int(p // columns), int(p % columns), "psum", int(rng.choice(bits)), int(rng.integers(2))
        )
        for p in places
    ]


CONDITIONS = {
    # name: psum bits, columns that PEs are drawn from
    "high bits, whole array": ((28, 29, 30, 31), 256),
    "high bits, columns the network uses": ((28, 29, 30, 31), 64),
    "low bits, columns the network uses": ((0, 1, 2, 3), 64),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder: {train,test}.parquet")
    parser.add_argument("--weights", type=Path, required=True, help="resnet20-12fca82f.th")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, array = published_resnet20(args.weights), SystolicArray(256, 256)
    picks = np.sort(generator(0, "calibration").choice(50_000, 512, replace=False))
    scales = calibrate(model, images(args.data / "train.parquet", picks)[0].split(128))
    picks = np.sort(generator(0, "test images").choice(10_000, args.images, replace=False))
    x, y = images(args.data / "test.parquet", picks)

    def measure(faults: ArrayFaults) -> tuple[float, str]:
        began = time.perf_counter()
        reached = accuracy(emulate(model, array, faults, scales), x, y)
        return reached, f"{time.perf_counter() - began:.1f}"

    healthy = {
        "healthy_float_pct": accuracy(model, x, y),
        "healthy_int8_pct": measure(ArrayFaults.undetected(256, 256, []))[0],
    }
    rows = []
    for condition, (bits, columns) in CONDITIONS.items():
        for count, seed in ((n, s) for n in (1, 4, 8) for s in range(args.seeds)):
            places = chip(seed, count, bits, columns)
            stuck = ArrayFaults.undetected(256, 256, places)
            (stuck_pct, stuck_s), (bypassed_pct, bypassed_s) = map(
                measure, (stuck, stuck.mitigated())
            )
            key = {"condition": condition, "seed": seed, "faulty_pes": count}
            rows.append({
                **key, "pes_in_used_columns": sum(place.col < 64 for place in places), **healthy,
                "stuck_pct": stuck_pct, "bypassed_pct": bypassed_pct, "stuck_s": stuck_s,
                "bypassed_s": bypassed_s,
            })  # fmt: skip
            print(*rows[-1].values(), flush=True)
            write(HERE / "results.csv", rows)
    draw(load(HERE / "results.csv"))


def draw(rows: list[Row]) -> None:
    """Draw the accuracy of every chip, stuck and bypassed."""
    conditions = dict.fromkeys(row["condition"] for row in rows)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(1, len(conditions), sharey=True)
    for axis, condition in zip(panels, conditions, strict=True):
        chips = where(rows, condition=condition)
        counts = sorted({int(row["faulty_pes"]) for row in chips})
        middle = max(int(row["seed"]) for row in chips) / 2
        for kind, colour, shift in (("stuck", "#b3261e", -0.12), ("bypassed", "#0f766e", 0.12)):
            x = [
                counts.index(int(row["faulty_pes"])) + shift + 0.02 * (int(row["seed"]) - middle)
                for row in chips
            ]
            y = [float(row[f"{kind}_pct"]) for row in chips]
            axis.plot(x, y, "o", color=colour, ms=5, alpha=0.75, label=kind)
        healthy = float(chips[0]["healthy_int8_pct"])
        axis.axhline(healthy, color=INK, lw=0.8, ls=":", label=f"healthy, int8: {healthy:.1f} %")
        axis.axhline(10, color=INK, lw=0.8, ls="--", label="guessing: 10 %")
        axis.set_xticks(range(len(counts)), counts)
        axis.set(title=condition, xlabel="faulty PEs of 65,536", ylim=(0, 100))
        axis.title.set_fontsize(10)
        axis.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy, % of 1,000 test images")
    panels[-1].legend(frameon=False, loc="center", fontsize=8)
    figure.savefig(HERE / "accuracy.png", dpi=160, facecolor="white")
