import json

import pytest
import torch

from efat import FaultMap
from efat.engine.store import DamagedError, Result, Store, content_key
from efat.io import write_bytes, write_json

RESULT = Result({"metric": [0.5, 0.75], "elapsed_s": 1.5}, {"w": torch.arange(6.0).reshape(2, 3)})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.write("train", "k", RESULT)
    return store


def test_a_result_comes_back(store):
    assert store.read("train", "k").values == RESULT.values
    assert torch.equal(store.weights("train", "k")["w"], RESULT.weights["w"])
    assert store.read("train", "other") is None


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_a_damaged_result_is_none(store, suffix, damage):
    path = store.path("train", "k", suffix)
    data = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(data[:-7])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    if (suffix, damage) == (".json", "delete"):
        assert store.read("train", "k") is None
    else:
        with pytest.raises(DamagedError, match=str(path)):
            store.read("train", "k")
    store.write("train", "k", RESULT)
    assert store.read("train", "k").values == RESULT.values


def test_a_changed_number_does_not_pass(store):
    path = store.path("train", "k", ".json")
    document = json.loads(path.read_text())
    document["values"]["metric"][1] = 0.99
    path.write_text(json.dumps(document))
    with pytest.raises(DamagedError):
        store.read("train", "k")


def test_a_key_depends_on_content_alone():
    a, b = FaultMap([[True, False]]), FaultMap([[False, True]])
    assert content_key("s", {"x": 1, "m": a}) == content_key("s", {"m": FaultMap(a.faulty), "x": 1})
    keys = {
        content_key(stage, inputs)
        for stage in ("s", "t")
        for inputs in ({"m": a}, {"m": b}, {"m": [1, 2]}, {"m": [12]}, {"m": None}, {"m": "None"})
    }
    assert len(keys) == 12


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_json_refuses_what_json_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("inf")})
    assert not list(tmp_path.iterdir())


def test_files_of_the_user_stay_and_half_written_ones_go(tmp_path):
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj/.env").write_text("SECRET=1")
    (tmp_path / "proj/.git").mkdir()
    half = tmp_path / "proj" / f".{'0' * 64}.json.x"
    half.write_text("{")
    Store(tmp_path).open()
    assert sorted(p.name for p in (tmp_path / "proj").iterdir() if p.suffix != ".lock") == [
        ".env", ".git",
    ]  # fmt: skip
