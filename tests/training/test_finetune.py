"""Ways to retrain: what is frozen, rates by layer, BatchNorm; trainings that diverge."""

import json
from functools import partial

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from efat import FaultMap, SystolicArray, mask_model, verify_masks
from efat.config.build import build_experiment
from efat.config.compose import compose_jobs
from efat.data.digits import Digits
from efat.engine.store import Store, content_key
from efat.training.finetune import FineTuneOptions
from efat.training.jobs import TrainingJob
from efat.training.module import FaultAwareModule
from efat.training.trainer import train
from tests.cli.command_line import efat, rows, run_folder
from tests.training.specs import spec


def fit_module(retraining, steps=3, faults=None, lr=0.1):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
    )
    if faults is not None:
        mask_model(model, faults, SystolicArray(8, 8))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    module = FaultAwareModule(model, 10, partial(torch.optim.SGD, lr=lr), finetune=retraining)
    pl.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, val_check_interval=1,
    ).fit(module, Digits())  # fmt: skip
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    return model, module, changed


def test_frozen_layers_stay_and_stay_masked():
    faults = FaultMap(np.random.default_rng(0).random((8, 8)) < 0.3)
    model, _, changed = fit_module(FineTuneOptions(frozen=("1",)), faults=faults)
    assert not changed & {"1.weight", "1.bias"}
    assert {"4.weight", "4.bias", "2.running_mean"} <= changed
    verify_masks(model)


def test_batch_norm_keeps_its_statistics_in_eval_mode():
    running = {"2.running_mean", "2.running_var"}
    assert not fit_module(FineTuneOptions(batch_norm="eval"))[2] & running
    assert running <= fit_module(FineTuneOptions())[2]


def test_rates_by_layer():
    _, module, changed = fit_module(FineTuneOptions(lr_factors={"1": 0.0, "4": 0.5}), lr=0.2)
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


def test_what_determines_a_result_is_in_its_key():
    base = TrainingJob(spec(), 7, 4)
    changes = (
        {"split_hash": "a"},
        {"finetune": FineTuneOptions(frozen=("x",))},
        {"channels_last": True},
    )
    jobs = [base, *(TrainingJob(spec(**change), 7, 4) for change in changes)]
    assert len({content_key("train", job) for job in jobs}) == len(jobs)


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
        "+experiment=resnet_fat", "~model", "executor=serial",
        "+model={_target_: tests.training.test_finetune.Fragile}",
        "array=ws_8", "compare=[none,single]", "selection.max_drop=0.1",
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
    points = [point for point in rows(run / "curves.csv") if point["fault_rate"] == "0.5"]
    assert [bool(p["val_metric"]) for p in points] == [True, False, False] * 2
    summary = json.loads((run / "summary.json").read_text())
    single = next(s for s in summary["strategies"] if s["name"] == "single")
    assert (single["diverged"], single["pass_val"]) == (1, summary["strategies"][1]["pass_val"])
    assert "trainings that diverged, whose chips carry the masked baseline: single 1 of 1" in text
