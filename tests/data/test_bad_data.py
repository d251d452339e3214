"""Data that cannot be used is named, or skipped and counted."""

import numpy as np
import pytest
import torch

from efat import EfatError
from efat.data.hugging_face import HubData
from efat.data.image_folder import FolderData
from efat.data.npz import NpzData
from efat.data.parquet import ParquetData
from tests.data.tiny_data import (
    images,
    png,
    real,
    write_folder,
    write_parquet,
)


def setup(kind, **options):
    data = kind(**options)
    data.setup("fit")
    return data


def rewrite(folder, change):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "train.parquet").to_pydict()
    change(table)
    pq.write_table(pa.table(table), folder / "train.parquet")


def corrupt(table):
    table["image"][7] = {"bytes": table["image"][7]["bytes"][:60], "path": None}
    table["image"][9] = {"bytes": None, "path": None}


def negative(table):
    table["label"][3] = -1


def words(table):
    table["label"] = ["cat"] * len(table["label"])


def sizes(table):
    table["image"][0] = {"bytes": png(images(1, 20)[0]), "path": None}


def missing(table):
    table["label"][4] = None


def text(folder):
    (folder / "train.parquet").write_text("not parquet")


BAD = {
    "a corrupt image": (corrupt, r"row 7: not a readable image .*bad_images=skip"),
    "no image": (corrupt, r"row 9: not a readable image \(it is missing\)"),
    "a label below 0": (negative, r"train, row 3: label -1 given; class indices from 0"),
    "labels that are words": (words, r"labels of train are of type object; class indices"),
    "sizes that differ": (sizes, r"different shapes.*\(3, 20, 20\), \(3, 32, 32\); set data.image"),
    "a row without label": (missing, r"1 rows have no 'label'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_named(case, tmp_path):
    change, message = BAD[case]
    folder = write_parquet(tmp_path / "set", 60)
    rewrite(folder, change)
    with pytest.raises(EfatError, match=message):
        setup(ParquetData, path=str(folder))


def test_bad_images_are_skipped_and_counted(tmp_path):
    folder = write_parquet(tmp_path / "set", 60)
    rewrite(folder, corrupt)
    data = setup(ParquetData, path=str(folder), bad_images="skip", val_size=10)
    assert [("row 7" in line, "row 9" in line) for line in data.skipped] == [
        (True, False),
        (False, True),
    ]
    assert len(data.loaded.targets["train"]) == 60 - 2 - 10


def test_bad_images_of_a_stream(tmp_path):
    path = write_folder(tmp_path / "set", 30, classes=2)
    victim = sorted((path / "train").rglob("*.png"))[0]
    victim.write_bytes(victim.read_bytes()[:50])
    options = {"path": str(path), "test_size": 4, "mean": [0.5] * 3, "std": [0.2] * 3}
    options |= {"in_memory": False, "batch_size": 26}
    data = setup(FolderData, **options)
    with pytest.raises(EfatError, match=f"{victim.name}: not a readable image"):
        [list(loader) for loader in (data.train_dataloader(), data.test_dataloader())]
    data = setup(FolderData, **options, bad_images="skip")
    with pytest.warns(UserWarning, match=rf"{victim.name}.*\(1 skipped so far\)"):
        loaders = [list(loader) for loader in (data.train_dataloader(), data.test_dataloader())]
    assert sum(len(x) for loader in loaders for x, _ in loader) == 29


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "nowhere"}, "data.path: 'nowhere' given; no such folder"),
        ({"image": "picture"}, "no column 'picture'; its columns: image, label"),
        ({"val_size": 5000}, "data.val_size: 5000 given; "),
        ({"val_size": 1.5}, "data.val_size: 1.5 given; a share in"),
        ({"batch_size": 0, "crop": -1}, "data.crop: -1 given.*data.batch_size: 0 given"),
        ({"mean": [0.5]}, "only one given"),
        ({"bad_images": "ignore"}, "data.bad_images: 'ignore' given; 'error' or 'skip'"),
        ({"zoom": 2}, "data.zoom: no such key; allowed: .*image_size"),
        ({"in_memory": False, "val_size": 20}, "data.mean, data.std: null given"),
    ],
)
def test_options_that_cannot_be(options, message, tmp_path):
    folder = write_parquet(tmp_path / "set", 60)
    with pytest.raises(EfatError, match="(?s)" + message):
        setup(ParquetData, **{"path": str(folder), **options}).train_dataloader()


def test_files_that_cannot_be_read(tmp_path):
    folder = write_parquet(tmp_path / "set", 60)
    text(folder)
    with pytest.raises(EfatError, match="not a readable parquet file"):
        setup(ParquetData, path=str(folder))
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(EfatError, match=r"not a readable \.npz file"):
        setup(NpzData, path=str(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", x_train=images(5), labels=np.arange(5))
    with pytest.raises(EfatError, match=r"has no array y_train; its arrays: x_train, labels"):
        setup(NpzData, path=str(tmp_path / "b.npz"))
    np.savez(tmp_path / "c.npz", x_train=np.array([{}], object), y_train=np.arange(1))
    with pytest.raises(EfatError, match=r"not a readable \.npz file"):
        setup(NpzData, path=str(tmp_path / "c.npz"))  # pickled: never loaded


def test_the_hub_without_a_network_says_what_to_do(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)

    def unreachable(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    data = HubData("someone/pictures")
    with pytest.raises(
        EfatError, match=r"'someone/pictures' could not be loaded \(no route.*local"
    ):
        data.setup("fit")


def test_a_real_set_is_read(tmp_path):
    """Fashion-MNIST as published; only the test part is decoded here."""
    (tmp_path / "train.parquet").symlink_to(real("fashion_mnist") / "test.parquet")
    data = setup(ParquetData, path=str(tmp_path), test_size=1000)
    assert data.num_classes == 10
    x, _ = next(iter(data.val_dataloader()))
    assert x.shape == (512, 1, 28, 28)
    assert torch.bincount(data.loaded.targets["test"]).tolist() == [100] * 10
