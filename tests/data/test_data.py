"""Data sets: every kind is split, normalised and batched alike; what is wrong with one is named."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from efat import EfatError
from efat.config.compose import compose_jobs
from efat.config.schema import CONF
from efat.data.digits import Digits
from efat.data.hugging_face import HubData
from efat.data.image_folder import FolderData
from efat.data.loaders import TensorBatches
from efat.data.npz import NpzData
from efat.data.parquet import ParquetData
from efat.data.splits import SplitSizes, split_parts
from efat.data.transforms import Augmentation, cut_out, take
from tests.data.tiny_data import (
    CHANNELS,
    images,
    overrides_of,
    png,
    real,
    write_folder,
    write_npz,
    write_parquet,
)

KINDS = sorted(path.stem for path in (CONF / "data").glob("[!_]*.yaml"))


def built(name, folder, *more):
    (cfg,) = compose_jobs([f"data={name}", *overrides_of(name, folder), *more])
    data = instantiate(cfg.data)
    data.setup("fit")
    return data


def rows(loader):
    return torch.cat([x for x, _ in loader]), torch.cat([y for _, y in loader])


# ---- what all kinds have in common ---------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_data_contract(name, tmp_path):
    """Splits are disjoint and the same every time; batches are normalised and cover them."""
    plain = [] if name in ("digits", "diabetes") else ["data.crop=0", "data.flip=false"]
    data, again = (built(name, tmp_path, *plain) for _ in range(2))
    held_out = []
    for split in ("val", "test"):
        (x, y), (same, _) = (rows(getattr(d, f"{split}_dataloader")()) for d in (data, again))
        assert x.dtype == torch.float32
        assert torch.equal(x, same)
        assert len(x) == len(y) >= 20
        held_out += [row.numpy().tobytes() for row in x]
    x, y = rows(data.train_dataloader())
    assert not {row.numpy().tobytes() for row in x} & set(held_out)
    if name not in ("diabetes", "digits"):
        assert x.shape[1] == CHANNELS.get(name, 3)
        assert data.split_hash == again.split_hash
    if name != "imagefolder":  # that one has ImageNet's statistics
        assert abs(float(x.mean())) < 0.1
        assert float(x.std()) == pytest.approx(1, abs=0.1)
    first, second = (torch.cat([b for b, _ in data.train_dataloader()]) for _ in range(2))
    assert not torch.equal(first, second)


def test_the_split_is_stratified_and_hangs_on_its_seed(tmp_path):
    write_npz(tmp_path / "a.npz", 500)

    def hashed(**options):
        data = NpzData(str(tmp_path / "a.npz"), val_size=100, **options)
        data.setup("fit")
        return data

    data = hashed()
    counts = torch.bincount(rows(data.val_dataloader())[1])
    assert counts.tolist() == [10] * 10
    assert hashed().split_hash == data.split_hash
    assert len({hashed(split_seed=seed).split_hash for seed in range(3)}) == 3
    assert hashed(train_size=200).split_hash != data.split_hash
    kept = [y for _, y in hashed(train_size=200, batch_size=50).train_dataloader()]
    assert torch.bincount(torch.cat(kept)).tolist() == [20] * 10


def test_validation_can_come_from_test():
    parts = {"train": np.arange(100) % 5, "test": np.arange(50) % 5}
    splits = split_parts(parts, SplitSizes(val_size=20, val_from="test"))
    assert {name: (part, len(index)) for name, (part, index) in splits.items()} == {
        "train": ("train", 100),
        "val": ("test", 20),
        "test": ("test", 30),
    }
    assert not set(splits["val"][1]) & set(splits["test"][1])


def test_the_key_hangs_on_the_content_not_on_the_name(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 7)):
        np.savez(tmp_path / f"{name}.npz", x_train=images(60, seed=seed), y_train=np.arange(60) % 3)
    keys = []
    for name in "abc":
        data = NpzData(str(tmp_path / f"{name}.npz"), test_size=0.2)
        data.setup("fit")
        keys.append(data.split_hash)
    assert keys[0] == keys[1] != keys[2]


def test_streamed_batches_are_those_of_memory(tmp_path):
    path = write_folder(tmp_path / "set", 40)
    common = {"mean": [0.5] * 3, "std": [0.2] * 3, "crop": 2, "flip": True, "batch_size": 8}
    common |= {"path": str(path), "test_size": 10}
    held, streamed = (FolderData(**common, in_memory=m) for m in (True, False))
    batches = []
    for data in (held, streamed):
        data.setup("fit")
        torch.manual_seed(3)
        loader = data.train_dataloader()
        batches.append(list(loader))
        assert len(loader) == len(batches[-1]) == 3
    assert all(torch.equal(a[1], b[1]) for a, b in zip(*batches, strict=True))
    assert torch.equal(rows(held.val_dataloader())[0], rows(streamed.val_dataloader())[0])
    state = torch.get_rng_state()
    list(streamed.val_dataloader())
    assert torch.equal(torch.get_rng_state(), state)  # the prefix rule


def test_digits_are_stratified_and_a_fifth_each_is_held_out():
    data = Digits()
    data.setup("fit")
    sizes = {name: len(y) for name, (_, y) in data.splits.items()}
    assert sizes == {"train": 1079, "val": 359, "test": 359}
    for _, y in data.splits.values():
        shares = torch.bincount(y).float() / len(y)
        assert (shares - 0.1).abs().max() < 0.02


def test_shuffled_batches_differ_by_pass_and_are_full():
    x, y = torch.arange(10), torch.arange(10)
    torch.manual_seed(3)
    loader = TensorBatches(x, y, 4, shuffle=True)
    first, second = list(loader), list(loader)
    assert len(loader) == len(first) == 2
    assert not torch.equal(torch.cat([a for a, _ in first]), torch.cat([a for a, _ in second]))
    torch.manual_seed(3)
    again = list(TensorBatches(x, y, 4, shuffle=True))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
    plain = list(TensorBatches(x, y, 4))
    assert [len(a) for a, _ in plain] == [4, 4, 2]
    assert torch.equal(torch.cat([a for a, _ in plain]), x)


def test_processes_of_one_training_share_the_batches(tmp_path):
    x = torch.arange(20)
    for shuffle in (True, False):
        shards = []
        for rank in range(2):
            torch.manual_seed(1)
            shards.append(list(TensorBatches(x, x, 4, shuffle, shard=(rank, 2))))
            assert len(TensorBatches(x, x, 4, shuffle, shard=(rank, 2))) == len(shards[-1])
        seen = torch.cat([a for shard in shards for a, _ in shard]).tolist()
        assert len(set(seen)) == len(seen) == (16 if shuffle else 20)


# ---- augmentation --------------------------------------------------------------------------------


def test_a_crop_is_a_window_of_the_bordered_image_and_a_flip_its_mirror():
    padded = torch.arange(2 * 1 * 6 * 6).reshape(2, 1, 6, 6).to(torch.uint8)
    batch = torch.tensor([0, 1] * 100)
    out = take(padded, batch, Augmentation(crop=1, flip=True), torch.Generator().manual_seed(0))
    assert out.dtype == torch.uint8
    found = set()
    for index, image in zip(batch, out, strict=True):
        windows = {
            (r, c, mirrored): w.flip(2) if mirrored else w
            for r in range(3)
            for c in range(3)
            for mirrored in (False, True)
            for w in [padded[index, :, r : r + 4, c : c + 4]]
        }
        found |= {key for key, window in windows.items() if torch.equal(window, image)}
    assert len(found) == 18  # every place, both ways


def test_cutout_hides_a_square():
    out = cut_out(torch.ones(300, 2, 8, 8), 4, torch.Generator().manual_seed(0))
    hidden = (out == 0).sum(dim=(2, 3))
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    assert hidden.max() == 16
    assert 0 < hidden.min() < 16  # some stick out


# ---- what cannot be ------------------------------------------------------------------------------


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


def test_a_users_own_data_module_needs_nothing_of_efat():
    (cfg,) = compose_jobs(["+experiment=resnet_fat", "fleet.chips=2"])
    cfg.data = OmegaConf.create({"_target_": "tests.data.plain_data.PlainDigits", "batch_size": 32})
    from efat.config.build import build_experiment

    assert build_experiment(cfg).retrain_setup.split_hash is None


def test_a_real_set_is_read(tmp_path):
    """Fashion-MNIST as published; only the test part is decoded here."""
    (tmp_path / "train.parquet").symlink_to(real("fashion_mnist") / "test.parquet")
    data = setup(ParquetData, path=str(tmp_path), test_size=1000)
    assert data.num_classes == 10
    x, _ = next(iter(data.val_dataloader()))
    assert x.shape == (512, 1, 28, 28)
    assert torch.bincount(data.loaded.targets["test"]).tolist() == [100] * 10
