"""Re-estimating BatchNorm of the fault-free ResNet-20, one condition changed at a time."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from efat.nn.repair import recalibrate
from experiments.records import write
from experiments.repair.run import HERE, accuracy, augmented, images, picks, published_resnet20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = published_resnet20(args.weights)
    rows = picks("calibration", 50_000, 2048)
    pool, _ = images(args.data / "train.parquet", rows)
    order = torch.from_numpy(np.random.default_rng(0).permutation(2048))
    pool = pool[order]
    plain = pool[:1024]
    x, y = images(args.data / "test.parquet", picks("test images", 10_000, 2000))
    conditions = {
        "batches of 128, as they are, fp32": (plain, 128, False),
        "bf16": (plain, 128, True),
        "batches of 32": (plain, 32, False),
        "one batch of 1,024": (plain, 1024, False),
        "2,048 images": (pool, 128, False),
        "flipped": (augmented(plain, crop=False, flip=True), 128, False),
        "cropped and flipped": (augmented(plain, crop=True, flip=True), 128, False),
        "cropped and flipped, 2,048 images": (augmented(pool, crop=True, flip=True), 128, False),
        "cropped and flipped, bf16": (augmented(plain, crop=True, flip=True), 128, True),
    }
    names = ("condition", "test_pct", "mean_shift_in_std", "mean_log_var_ratio")
    out = [("published statistics", f"{accuracy(model, x, y):.2f}", 0, 0)]
    for name, (inputs, batch, bf16) in conditions.items():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            fresh = recalibrate(model, inputs.split(batch))
        shift, ratio = differences(model, fresh)
        out.append((name, f"{accuracy(fresh, x, y):.2f}", f"{shift:.3f}", f"{ratio:.3f}"))
        print(*out[-1], flush=True)
    write(HERE / "recalibration.csv", [dict(zip(names, row, strict=True)) for row in out])


def differences(model: torch.nn.Module, fresh: torch.nn.Module) -> tuple[float, float]:
    """Return mean |difference of means| / std and mean log ratio of variances, over channels."""
    old, new = model.state_dict(), fresh.state_dict()
    shifts, ratios = [], []
    for name in (n for n in old if n.endswith("running_var")):
        mean = name.replace("running_var", "running_mean")
        shifts.append((new[mean] - old[mean]).abs() / old[name].sqrt())
        ratios.append((new[name] / old[name]).log())
    return torch.cat(shifts).mean().item(), torch.cat(ratios).mean().item()
