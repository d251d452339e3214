"""Data sets: every kind is split, normalised and batched alike; what is wrong with one is named."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from efat.config.compose import compose_jobs
from efat.config.schema import CONF
from efat.data.digits import Digits
from efat.data.image_folder import FolderData
from efat.data.loaders import TensorBatches
from efat.data.npz import NpzData
from efat.data.splits import SplitSizes, split_parts
from efat.data.transforms import Augmentation, cut_out, take
from tests.data.tiny_data import (
    CHANNELS,
    images,
    overrides_of,
    write_folder,
    write_npz,
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


def test_a_users_own_data_module_needs_nothing_of_efat():
    (cfg,) = compose_jobs(["+experiment=resnet_fat", "fleet.chips=2"])
    cfg.data = OmegaConf.create({"_target_": "tests.data.plain_data.PlainDigits", "batch_size": 32})
    from efat.config.build import build_experiment

    assert build_experiment(cfg).retrain_setup.split_hash is None
