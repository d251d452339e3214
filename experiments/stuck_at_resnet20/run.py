"""Published ResNet-20 in int8 on an emulated 256x256 array with a few undetected stuck-at PEs.

python experiments/2026-11-22-stuck-at-resnet20/run.py --data CIFAR10_PARQUET --weights CHECKPOINT
"""

from __future__ import annotations

import argparse
import csv
import io
import platform
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from efat.hardware import SystolicArray
from efat.hardware.emulation import ArrayFaults, StuckAt
from efat.models import ResNet
from efat.nn import calibrate, emulate
from efat.seeds import generator

HERE = Path(__file__).parent
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def images(path: Path, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images [n, 3, 32, 32], normalised as the checkpoint expects, and labels."""
    table = pq.read_table(path, columns=["img", "label"]).take(rows)
    decoded = [np.array(Image.open(io.BytesIO(row["bytes"]))) for row in table["img"].to_pylist()]
    x = torch.from_numpy(np.stack(decoded)).float() / 255
    return ((x - MEAN) / STD).permute(0, 3, 1, 2), torch.tensor(table["label"].to_pylist())


def published_resnet20(path: Path) -> ResNet:
    """Load the checkpoint into efat's ResNet-20."""
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    model = ResNet(20, 10)
    model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return model.eval()


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

COLUMNS = (
    "condition", "seed", "faulty_pes", "pes_in_used_columns", "healthy_float_pct",
    "healthy_int8_pct", "stuck_pct", "bypassed_pct", "stuck_s", "bypassed_s",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder: {train,test}.parquet")
    parser.add_argument("--weights", type=Path, required=True, help="resnet20-12fca82f.th")
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, array = published_resnet20(args.weights), SystolicArray(256, 256)
    picks = np.sort(generator(0, "calibration").choice(50_000, 512, replace=False))
    scales = calibrate(model, images(args.data / "train.parquet", picks)[0].split(128))
    picks = np.sort(generator(0, "test images").choice(10_000, args.images, replace=False))
    x, y = images(args.data / "test.parquet", picks)
    print(platform.processor(), platform.python_version(), torch.__version__, np.__version__)
    with args.out.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        float_pct = accuracy(model, x, y)
        int8_pct = accuracy(
            emulate(model, array, ArrayFaults.undetected(256, 256, []), scales), x, y
        )
        for condition, (bits, columns) in CONDITIONS.items():
            for count in (1, 4, 8):
                for seed in range(args.seeds):
                    faults = chip(seed, count, bits, columns)
                    stuck = ArrayFaults.undetected(256, 256, faults)
                    began = time.perf_counter()
                    stuck_pct = accuracy(emulate(model, array, stuck, scales), x, y)
                    middle = time.perf_counter()
                    fixed_pct = accuracy(emulate(model, array, stuck.mitigated(), scales), x, y)
                    end = time.perf_counter()
                    hit = sum(fault.col < 64 for fault in faults)
                    row = [condition, seed, count, hit, float_pct, int8_pct, stuck_pct, fixed_pct]
                    rows.writerow([*row, f"{middle - began:.1f}", f"{end - middle:.1f}"])
                    file.flush()
                    print(*row, f"{middle - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
