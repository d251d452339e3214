"""Tiny data sets of every kind that efat reads, and the real ones where they lie."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efat.data.parquet import ParquetData

REAL = Path(__file__).parents[3] / "shared/data"
CIFAR = ["label", "fine_label"]


def real(*parts):
    """Return a path below the real data, or skip."""
    path = REAL.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(parts)} is not beside this checkout")
    return path


def images(count, side=32, channels=3, seed=0):
    shape = (count, side, side, channels) if channels > 1 else (count, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def write_parquet(folder, count=300, classes=10, side=32, channels=3, image="image", labels=None):
    """Write `train.parquet`, and half as much as `test.parquet`; columns `label` and so on."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    for part, size, seed in (("train", count, 0), ("test", count // 2, 1)):
        cells = [{"bytes": png(one), "path": None} for one in images(size, side, channels, seed)]
        numbers = np.arange(size) % classes
        columns = dict.fromkeys(labels or ["label"], numbers)
        pq.write_table(pa.table({image: cells, **columns}), folder / f"{part}.parquet")
    return folder


def write_folder(folder, count=120, classes=3, side=32, parts=("train", "val")):
    for part in parts:
        for index, image in enumerate(images(count, side, seed=len(part))):
            place = folder / part / f"class{index % classes}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{index}.png").write_bytes(png(image))
    return folder


def write_npz(path, count=300, classes=10, **shape):
    parts = {}
    for part, size, seed in (("train", count, 0), ("test", count // 3, 1)):
        parts |= {
            f"x_{part}": images(size, seed=seed, **shape),
            f"y_{part}": np.arange(size) % classes,
        }
    np.savez(path, **parts)
    return path


def overrides_of(name, folder):
    """Make the data that `data=name` reads, and say where it is."""
    grey, colour = ("mnist", "fashion_mnist"), ("cifar10", "cifar100", "svhn", "parquet", "hf")
    if name in (*grey, *colour):
        write_parquet(
            folder / name, 300, 100 if name == "cifar100" else 10,
            28 if name in grey else 32, 1 if name in grey else 3,
            "img" if name.startswith("cifar") else "image", CIFAR,
        )  # fmt: skip
        small = ["data.batch_size=32", "data.val_size=100"]
        if name == "hf":
            pytest.importorskip("datasets")
            files = {p: str(folder / name / f"{p}.parquet") for p in ("train", "test")}
            return [*small, "data.path=parquet", f"data.data_files={files}".replace("'", "")]
        return [*small, f"data.path={folder / name}"]
    if name == "npz":
        return [f"data.path={write_npz(folder / 'arrays.npz')}", "data.batch_size=32"]
    if name == "imagefolder":
        path = write_folder(folder / name)
        small = ["data.batch_size=8", "data.test_size=0.2", "data.workers=0"]
        return [f"data.path={path}", *small, "data.image_size=32", "data.resize=36"]
    return []


CHANNELS = {"digits": 1, "mnist": 1, "fashion_mnist": 1}
"""Of the images of each data set; 3 where it is not named."""


class CifarTest(ParquetData):
    """The test part alone: decoding the training part takes longer than a test may."""

    def read(self):
        test = self._read_part([self.path / "test.parquet"])
        few = type(test)(test.images[:200], test.targets[:200], test.name)
        return {"train": few, "test": test}
