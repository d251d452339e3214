"""Accuracy of faulty chips repaired without training: ResNet-8, published ResNet-20, an MLP."""

from __future__ import annotations

import argparse
import copy
import csv
import io
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from efat.data import Digits
from efat.data.loaders import TensorBatches
from efat.hardware import SystolicArray
from efat.hardware.fleets import uniform_fleet
from efat.models import MLP, ResNet
from efat.nn import magnitude_saliency, taylor_saliency
from efat.nn.masking import mask_model, verify_masks
from efat.nn.repair import (
    compensate,
    compensate_sequentially,
    measure_grams,
    recalibrate,
    remap,
    rescale,
)
from efat.seeds import derive, generator

HERE = Path(__file__).parent
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
COLUMNS = ("setting", "fault_rate", "map", "method", "test_pct", "repair_s")


def images(path: Path, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images [n, 3, 32, 32], normalised as the checkpoint expects, and labels."""
    table = pq.read_table(path, columns=["img", "label"]).take(rows)
    decoded = [np.array(Image.open(io.BytesIO(row["bytes"]))) for row in table["img"].to_pylist()]
    x = torch.from_numpy(np.stack(decoded)).float() / 255
    normalised = ((x - MEAN) / STD).permute(0, 3, 1, 2).contiguous()
    return normalised, torch.tensor(table["label"].to_pylist())


def grey(path: Path, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images [n, 784] in 0-1, and labels."""
    table = pq.read_table(path, columns=["image", "label"]).take(rows)
    decoded = [np.array(Image.open(io.BytesIO(row["bytes"]))) for row in table["image"].to_pylist()]
    x = torch.from_numpy(np.stack(decoded)).float() / 255
    return x.flatten(1), torch.tensor(table["label"].to_pylist())


def picks(what: str, population: int, count: int) -> np.ndarray:
    return np.sort(generator(0, what).choice(population, count, replace=False))


def augmented(x: torch.Tensor, crop: bool = True, flip: bool = True) -> torch.Tensor:
    """Crop from 4 black pixels of padding, and flip, as the checkpoint was trained."""
    rng = generator(0, "augmentation")
    black = -(MEAN / STD).reshape(1, 3, 1, 1)
    padded = functional.pad(x - black, (4, 4, 4, 4)) + black
    out = []
    for image, plain in zip(padded, x, strict=True):
        top, left = rng.integers(0, 9, 2)
        chosen = image[:, top : top + 32, left : left + 32] if crop else plain
        out.append(chosen.flip(2) if flip and rng.random() < 0.5 else chosen)
    return torch.stack(out)


def published_resnet20(path: Path) -> ResNet:
    """Load the checkpoint into efat's ResNet-20."""
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    model = ResNet(20, 10)
    model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return model.eval()


def trained(model: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> nn.Module:
    sgd = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    batches, done = TensorBatches(x, y, 32, shuffle=True), 0
    while done < steps:
        for x, y in batches:
            sgd.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            sgd.step()
            done += 1
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    if x.dim() == 4:
        model = model.to(memory_format=torch.channels_last)
    pairs = zip(x.split(250), y.split(250), strict=True)
    return 100 * sum(int((model(a).argmax(1) == b).sum()) for a, b in pairs) / len(y)


def methods(model, fault_map, array, grams, calibration, taylor):
    """Yield (name, how to make it); placements are made once, their time is counted in each."""

    def placed(by, then, rows=False):
        return lambda: then(remap(model, fault_map, array, by, rows=rows))

    def masked(placement=None):
        return mask_model(copy.deepcopy(model), fault_map, array, placement=placement)

    def one_shot(placement=None):
        return compensate(model, fault_map, array, grams, placement=placement)

    def sequential(placement=None):
        return compensate_sequentially(model, fault_map, array, calibration, placement=placement)

    yield "masked", masked
    if isinstance(model, MLP):
        yield "rescaled", lambda: rescale(model, masked(), calibration)
        yield "one-shot, rescaled", lambda: rescale(model, one_shot(), calibration)
    else:
        yield "recalibrated", lambda: recalibrate(masked(), calibration.split(128))
    if calibration.dim() == 4 and calibration.shape[1] == 3:  # digits are trained without crops
        crops = augmented(calibration).split(128)
        yield "recalibrated on crops", lambda: recalibrate(masked(), crops)
    yield "one-shot", one_shot
    yield "sequential", sequential
    magnitude = magnitude_saliency(model)
    yield "remapped by |w|", placed(magnitude, masked)
    yield "remapped", placed(grams, masked)
    yield "remapped by |w| + one-shot", placed(magnitude, one_shot)
    yield "remapped by Taylor + one-shot", placed(taylor, one_shot)
    yield "remapped + one-shot", placed(grams, one_shot)
    yield "remapped + sequential", placed(grams, sequential)
    yield "rows too + one-shot", placed(grams, one_shot, rows=True)
    yield "rows too + sequential", placed(grams, sequential, rows=True)


def setting(args) -> tuple:
    """Return the model, the array, the calibration set and the test set."""
    if args.setting == "digits":
        data = Digits(32)
        data.setup("fit")
        torch.manual_seed(derive(0, "baseline") % 2**32)
        model = trained(ResNet(8, 10, 1), *data.splits["train"], 900)
        return model, SystolicArray(16, 16), *data.splits["train"], *data.splits["test"]
    if args.setting == "fashion_mnist":
        x, y = grey(args.data / "train.parquet", picks("training", 60_000, 10_000))
        torch.manual_seed(derive(0, "baseline") % 2**32)
        model = trained(MLP([784, 256, 256, 256, 10]), x, y, 20 * len(x) // 32)
        calibration = x[: args.calibration], y[: args.calibration]
        test = grey(args.data / "test.parquet", np.arange(10_000))
        return model, SystolicArray(args.side, args.side), *calibration, *test
    model = published_resnet20(args.weights)
    calibration = images(
        args.data / "train.parquet", picks("calibration", 50_000, args.calibration)
    )
    test = images(args.data / "test.parquet", picks("test images", 10_000, 2000))
    return model, SystolicArray(args.side, args.side), *calibration, *test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setting", choices=("digits", "cifar10", "fashion_mnist"), required=True)
    parser.add_argument("--data", type=Path, help="folder: {train,test}.parquet")
    parser.add_argument("--weights", type=Path, help="resnet20-12fca82f.th")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--calibration", type=int, default=1024)
    parser.add_argument("--maps", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
    parser.add_argument("--only", nargs="*", help="methods; all by default")
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, array, calibration, labels, x, y = setting(args)
    name = f"{args.setting} {array.rows}x{array.cols}"
    new = not args.out.exists()
    with args.out.open("a", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        if new:
            rows.writerow(COLUMNS)

        def record(*row):
            rows.writerow([name, *row])
            file.flush()
            print(name, *row, flush=True)

        record(0.0, "", "fault-free", f"{accuracy(model, x, y):.2f}", "")
        began = time.perf_counter()
        grams = measure_grams(model, calibration.split(128))
        record("", "", "Gram matrices", "", f"{time.perf_counter() - began:.2f}")
        taylor = taylor_saliency(model, zip(calibration.split(128), labels.split(128), strict=True))
        for index in args.maps:
            for rate in args.rates:
                fleet = uniform_fleet(array, derive(0, "repair", index, rate), 1, rate)
                fault_map = fleet.chips[0].fault_map
                for method, make in methods(model, fault_map, array, grams, calibration, taylor):
                    if args.only and method not in args.only:
                        continue
                    began = time.perf_counter()
                    repaired = make()
                    taken = time.perf_counter() - began
                    verify_masks(repaired)
                    reached = accuracy(repaired.eval(), x, y)
                    record(rate, index, method, f"{reached:.2f}", f"{taken:.2f}")
