"""What a user brings: checkpoints, tasks, ways to retrain; what happens when training diverges."""

import csv
import json
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import safetensors.torch
import torch
from torch import nn

from efat import EfatError, FaultMap, SystolicArray, mask_model, verify_masks
from efat.data.digits import Digits
from efat.fit import train
from efat.jobs import TrainingJob
from efat.metric import Metric
from efat.models.mlp import MLP
from efat.module import FaultAwareModule, unwrap
from efat.overrides import compose_jobs
from efat.preflight import build_experiment
from efat.resilience import Constraint, ResilienceCurve
from efat.retraining import Retraining
from efat.store import Store, content_key
from efat.weight_files import WeightFile
from tests.command_line import efat, run_folder
from tests.test_fit import setup_of
from tests.tiny_data import write_npz

SIZES = [64, 24, 10]


def experiment(*overrides):
    (cfg,) = compose_jobs(["+experiment=resnet_fat", "fleet.chips=2", *overrides])
    return build_experiment(cfg)


# ---- checkpoints ---------------------------------------------------------------------------------


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
    WeightFile.of(str(path)).load_into(target)
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)


def test_every_mismatch_is_listed(tmp_path):
    state = MLP([64, 32, 10, 10]).state_dict()
    del state["layers.0.bias"]
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(EfatError) as caught:
        WeightFile.of(str(tmp_path / "other.pt")).load_into(MLP(SIZES))
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
        WeightFile.of(str(path)).load_into(MLP(SIZES))
    assert capsys.readouterr().out == ""  # nothing was run


def test_a_checkpoint_is_the_baseline_and_its_content_the_key(tmp_path, monkeypatch):
    torch.manual_seed(0)
    torch.save(MLP([64, 128, 128, 10]).state_dict(), tmp_path / "mine.pt")
    (tmp_path / "copy.pt").write_bytes((tmp_path / "mine.pt").read_bytes())
    arguments = ["+experiment=resnet_fat", "model=mlp", "stage=pretrain", "executor=serial"]
    result = efat(tmp_path, *arguments, "baseline.checkpoint=mine.pt")
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("baseline")]
    assert "% on validation (mine.pt); constraint" in line  # random weights: about 10 %
    assert float(line.split()[1].rstrip("%")) < 30
    again = efat(tmp_path, *arguments, "baseline.checkpoint=copy.pt", "name=again")
    assert "pretrain 0" in again.stdout
    result = efat(tmp_path, *arguments[:1], "baseline.checkpoint=mine.pt", "name=other")
    assert result.returncode == 2
    assert "mine.pt is not of this model: 37 missing: conv1.weight" in result.stderr


# ---- what does not fit together ------------------------------------------------------------------


def test_data_that_does_not_fit_the_network(tmp_path, monkeypatch):
    path = write_npz(tmp_path / "a.npz", 200, classes=20, side=8)
    data = ["data=npz", f"data.path={path}", "data.batch_size=32"]
    with pytest.raises(EfatError, match=r"does not take the data's inputs of shape \(3, 8, 8\)"):
        experiment(*data)
    with pytest.raises(EfatError, match="has 10 outputs, but the data has labels up to 19"):
        experiment(*data, "model.in_channels=3")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=mse"], "task.loss: does not fit outputs of shape"),
        (["task.loss._target_=torch.nn.BCEWithLogitsLoss"], "task.loss: does not fit outputs"),
        (["+task.loss.reduction=none"], "task.loss: gives .* values for a batch"),
        (["task.metric._target_=torch.nn.Linear"], "task"),
        (["training.frozen=[layer9]"], "training.frozen: 'layer9' given; the model has no such"),
        (["+training.lr_factors.conv1=-1"], "training.lr_factors: conv1: -1.0 given"),
        (["training.batch_norm=off"], "training.batch_norm: "),
        (
            ["training.frozen=[conv1,bn1,layer1,layer2,layer3,linear]"],
            "training.frozen: covers every layer",
        ),
        (["trainer.devices=2"], "trainer.devices: 2 given; with more than one use executor=launch"),
        (["baseline.checkpoint=nowhere.pt"], "baseline.checkpoint: 'nowhere.pt' given; no such"),
    ],
)
def test_parts_that_cannot_be(overrides, message):
    with pytest.raises(EfatError, match=message):
        experiment(*overrides)


# ---- tasks ---------------------------------------------------------------------------------------


def test_an_error_is_met_from_above():
    mse = Metric("mse", False, 0.0, None)
    curve = ResilienceCurve(0.1, 0, 0.1, (0, 4, 8), (0.9, 0.5, 0.6), higher_is_better=False)
    assert curve.crossing(0.55) == 4
    assert curve.crossing(0.4) == np.inf
    assert Constraint(0.25, metric=mse).target(0.5) == 0.75
    assert Constraint(limit=7.0, metric=mse).target(0.5) == 7.0
    assert mse.worst([1.0, 3.0, 2.0]) == 3.0
    with pytest.raises(EfatError, match=r"selection.limit: 7.0 given; a number in \[0, 1\]"):
        Constraint(limit=7.0)


@pytest.mark.parametrize("task", ["top5", "f1"])
def test_the_constraint_is_about_the_chosen_metric(task):
    built = experiment(f"task={task}")
    assert built.metric == Metric(task, proportion=task == "top5")  # F1 is a mean over classes
    assert built.retrain_setup.metric["num_classes"] == 10


def test_segmentation_has_a_map_of_classes(tmp_path):
    masks = np.random.default_rng(0).integers(0, 3, (60, 8, 8))
    inputs = (np.stack([masks] * 2, 1) + 0.0).astype(np.float32)
    np.savez(tmp_path / "a.npz", x_train=inputs, y_train=masks)
    node = "{_target_: torch.nn.Conv2d, in_channels: 2, out_channels: 3, kernel_size: 1}"
    built = experiment(
        "~model", f"+model={node}", "data=npz", f"data.path={tmp_path / 'a.npz'}", "task=miou",
        "data.test_size=10", "data.val_size=10", "data.batch_size=8",
    )  # fmt: skip
    assert built.retrain_setup.metric["num_classes"] == 3


def test_a_regression_from_end_to_end(tmp_path):
    """Tabular, not images; the metric is an error, so better is smaller all the way."""
    result = efat(
        tmp_path, "+experiment=diabetes_mlp", "executor=serial", "fleet.chips=4",
        "fault_rates.rates=[0.1,0.4]", "fault_rates.maps_per_rate=2", "compare=[none]",
        "training.budget_epochs=4", "training.eval_every_epochs=2", "baseline.epochs=15",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "baseline   mse 0." in result.stdout
    assert "constraint: at most 0." in result.stdout
    assert "test mse: baseline 0." in result.stdout
    run = run_folder(tmp_path)
    document = json.loads((run / "resilience_map.json").read_text())
    assert document["metric"] == "mse"
    with (run / "curves.csv").open() as stream:
        points = list(csv.DictReader(stream))
    start, end = (
        np.mean([float(p["val_metric"]) for p in points if float(p["amount_epochs"]) == epoch])
        for epoch in (0, 4)
    )
    assert end < start  # retraining lowers the error
    summary = json.loads((run / "summary.json").read_text())
    with (run / "chips.csv").open() as stream:
        chips = list(csv.DictReader(stream))
    for chip in chips:
        met = float(chip["test_after"]) <= summary["targets"]["test"]
        assert met == (chip["met_test"] == "True")
    assert summary["strategies"][0]["worst_test"] == max(float(c["test_after"]) for c in chips)
    assert (run / "figures/curves.png").exists()


# ---- outputs -------------------------------------------------------------------------------------


class Output(dict):
    """As Hugging Face's ModelOutput."""

    logits = torch.ones(2)


@pytest.mark.parametrize(
    "output",
    [torch.ones(2), Output(logits=torch.ones(2)), {"out": torch.ones(2)}, (torch.ones(2), 3)],
)
def test_outputs_are_unwrapped(output):
    assert torch.equal(unwrap(output), torch.ones(2))


def test_an_output_without_a_tensor():
    with pytest.raises(EfatError, match="model: returns a dict; a tensor, an object with logits"):
        unwrap({"loss": 3})


# ---- ways to retrain ----------------------------------------------------------------------------


def fit_module(retraining, steps=3, faults=None, lr=0.1):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
    )
    if faults is not None:
        mask_model(model, faults, SystolicArray(8, 8))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    module = FaultAwareModule(model, 10, partial(torch.optim.SGD, lr=lr), retraining=retraining)
    pl.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, val_check_interval=1,
    ).fit(module, Digits())  # fmt: skip
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    return model, module, changed


def test_frozen_layers_stay_and_stay_masked():
    faults = FaultMap(np.random.default_rng(0).random((8, 8)) < 0.3)
    model, _, changed = fit_module(Retraining(frozen=("1",)), faults=faults)
    assert not changed & {"1.weight", "1.bias"}
    assert {"4.weight", "4.bias", "2.running_mean"} <= changed
    verify_masks(model)


def test_batch_norm_keeps_its_statistics_in_eval_mode():
    running = {"2.running_mean", "2.running_var"}
    assert not fit_module(Retraining(batch_norm="eval"))[2] & running
    assert running <= fit_module(Retraining())[2]


def test_rates_by_layer():
    _, module, changed = fit_module(Retraining(lr_factors={"1": 0.0, "4": 0.5}), lr=0.2)
    rates = {
        len(group["params"]): (group["lr"], [p.shape for p in group["params"]])
        for group in module.optimizers().param_groups
    }
    assert sorted(group["lr"] for group in module.optimizers().param_groups) == [0.0, 0.1, 0.2]
    assert rates
    assert not changed & {"1.weight", "1.bias"}


def test_reestimating_batch_norm_moves_statistics_alone(tmp_path):
    (cfg,) = compose_jobs(["training=reestimate_bn", "model.width=4", "fleet.chips=1"])
    setup = build_experiment(cfg).retrain_setup
    store = Store(tmp_path)
    first, later = (train(TrainingJob(setup, 3, steps), store).weights for steps in (0, 6))
    moved = {name.rpartition(".")[2] for name in first if not torch.equal(first[name], later[name])}
    assert moved == {"running_mean", "running_var", "num_batches_tracked"}


# ---- keys ----------------------------------------------------------------------------------------


def test_what_determines_a_result_is_in_its_key():
    base = TrainingJob(setup_of(), 7, 4)
    changes = (
        {"split_hash": "a"},
        {"retraining": Retraining(frozen=("x",))},
        {"channels_last": True},
    )
    jobs = [base, *(TrainingJob(setup_of(**change), 7, 4) for change in changes)]
    assert len({content_key("train", job) for job in jobs}) == len(jobs)


# ---- trainings that diverge ----------------------------------------------------------------------


class Fragile(nn.Module):
    """Gives NaN where it was masked a lot and is then trained."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        lost = (self.linear.weight == 0).float().mean() > 0.3
        logits = self.linear(x.flatten(1))
        return logits * float("nan") if lost and self.training else logits


def test_a_diverged_unit_is_reported_and_the_rest_goes_on(tmp_path):
    arguments = (
        "+experiment=resnet_fat", "~model", "+model={_target_: tests.test_workload.Fragile}",
        "executor=serial", "array=ws_8", "compare=[none,single]", "selection.max_drop=0.1",
        "baseline.epochs=4", "training.budget_epochs=0.5", "training.eval_every_epochs=0.25",
        "fault_rates.rates=[0.1,0.5]", "fault_rates.maps_per_rate=2",
        "fleet.chips=6", "fleet.fault_rate=[0.07,0.1]",
    )  # fmt: skip
    result = efat(tmp_path, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    text = " ".join(result.stdout.split())
    assert "diverged 2 of 4 curves end early" in text
    assert "rate 0.5 repeat 0, rate 0.5 repeat 1" in text
    run = run_folder(tmp_path)
    with (run / "curves.csv").open() as stream:
        points = [p for p in csv.DictReader(stream) if p["fault_rate"] == "0.5"]
    assert [bool(p["val_metric"]) for p in points] == [True, False, False] * 2
    summary = json.loads((run / "summary.json").read_text())
    single = next(s for s in summary["strategies"] if s["name"] == "single")
    assert (single["diverged"], single["met_val"]) == (1, summary["strategies"][1]["met_val"])
    assert "trainings that diverged, whose chips carry the masked baseline: single 1 of 1" in text
