"""Checkpoints that a user brings."""

import pytest
import safetensors.torch
import torch

from efat import EfatError
from efat.models.mlp import MLP
from efat.training.pretrained import PretrainedWeights
from tests.cli.command_line import efat

SIZES = [64, 24, 10]


def named(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


FILES = {
    "plain.pt": lambda state: state,
    "parallel.th": lambda state: {"state_dict": named("module.", state), "best_prec1": 91.7},
    "lightning.ckpt": lambda state: {
        "epoch": 3,
        "state_dict": {**named("model.", state), "val_metric.total": torch.tensor(4)},
        "hyper_parameters": {"lr": 0.1},
    },
    "compiled.pth": lambda state: {"model": named("_orig_mod.", state), "optimizer": {}},
    "nested.pt": lambda state: {"net": {"state_dict": named("module.model.", state)}},
}


@pytest.mark.parametrize("file", [*FILES, "plain.safetensors"])
def test_prefixes_are_stripped(file, tmp_path):
    torch.manual_seed(1)
    source, target = MLP(SIZES), MLP(SIZES)
    path = tmp_path / file
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(source.state_dict(), path)
    else:
        torch.save(FILES[file](source.state_dict()), path)
    PretrainedWeights.of(str(path)).load_into(target)
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)


def test_every_mismatch_is_listed(tmp_path):
    state = MLP([64, 32, 10, 10]).state_dict()
    del state["layers.0.bias"]
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(EfatError) as caught:
        PretrainedWeights.of(str(tmp_path / "other.pt")).load_into(MLP(SIZES))
    assert [p.split("model: ")[1] for p in caught.value.problems] == [
        "1 missing: layers.0.bias",
        "2 unexpected: layers.2.weight; layers.2.bias",
        "2 of another shape: layers.0.weight is [32, 64] in the file, [24, 64] in the model; "
        "layers.1.weight is [10, 32] in the file, [10, 24] in the model",
    ]


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", {"model": Harmful()}, "holds more than tensors and plain values"),
        ("b.pt", b"no checkpoint", "holds more than tensors|not readable"),
        ("c.pt", {"epoch": 3}, "holds no state dict, but: epoch"),
        ("d.safetensors", b"no checkpoint", "not readable"),
        ("e.onnx", b"", r"a file ending in one of \.pt"),
        ("f.pt", None, "no such file"),
    ],
)
def test_files_that_are_no_checkpoint(name, content, message, tmp_path, capsys):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(EfatError, match=f"baseline.checkpoint: .*({message})"):
        PretrainedWeights.of(str(path)).load_into(MLP(SIZES))
    assert capsys.readouterr().out == ""  # nothing was run


def test_a_checkpoint_is_the_baseline_and_its_content_the_key(tmp_path, monkeypatch):
    torch.manual_seed(0)
    torch.save(MLP([64, 128, 128, 10]).state_dict(), tmp_path / "mine.pt")
    (tmp_path / "copy.pt").write_bytes((tmp_path / "mine.pt").read_bytes())
    arguments = ["+experiment=resnet_fat", "model=mlp", "stage=pretrain", "executor=serial"]
    result = efat(tmp_path, *arguments, "baseline.checkpoint=mine.pt")
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("baseline")]
    assert "% on validation (mine.pt)" in line  # random weights: about 10 %
    assert float(line.split()[1].rstrip("%")) < 30
    again = efat(tmp_path, *arguments, "baseline.checkpoint=copy.pt", "name=again")
    assert "pretrain 0" in again.stdout
    result = efat(tmp_path, *arguments[:1], "baseline.checkpoint=mine.pt", "name=other")
    assert result.returncode == 2
    assert "mine.pt is not of this model: 37 missing: conv1.weight" in result.stderr
