"""Tasks and outputs: losses, metrics, and what does not fit together."""

import json

import numpy as np
import pytest
import torch

from efat import EfatError
from efat.resilience.constraint import Constraint
from efat.resilience.metric import Metric
from efat.resilience.resilience_map import ResilienceCurve
from efat.training.module import unwrap
from tests.campaign.tiny_experiments import experiment
from tests.cli.command_line import efat, rows, run_folder
from tests.data.tiny_data import write_npz


def test_data_that_does_not_fit_the_network(tmp_path, monkeypatch):
    path = write_npz(tmp_path / "a.npz", 200, classes=20, side=8)
    data = ["data=npz", f"data.path={path}", "data.batch_size=32"]
    with pytest.raises(EfatError, match=r"does not take the data's inputs of shape \(3, 8, 8\)"):
        experiment(*data)
    with pytest.raises(EfatError, match="has 10 outputs, but the data has labels up to 19"):
        experiment(*data, "model.in_channels=3")


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
    assert built.retrain_setup.metric.arguments["num_classes"] == 10


def test_segmentation_has_a_map_of_classes(tmp_path):
    masks = np.random.default_rng(0).integers(0, 3, (60, 8, 8))
    inputs = (np.stack([masks] * 2, 1) + 0.0).astype(np.float32)
    np.savez(tmp_path / "a.npz", x_train=inputs, y_train=masks)
    node = "{_target_: torch.nn.Conv2d, in_channels: 2, out_channels: 3, kernel_size: 1}"
    built = experiment(
        "~model", f"+model={node}", "data=npz", f"data.path={tmp_path / 'a.npz'}", "task=miou",
        "data.test_size=10", "data.val_size=10", "data.batch_size=8",
    )  # fmt: skip
    assert built.retrain_setup.metric.arguments["num_classes"] == 3


def test_a_regression_from_end_to_end(tmp_path):
    """Tabular, not images; the metric is an error, so better is smaller all the way."""
    result = efat(
        tmp_path, "+experiment=diabetes_mlp", "executor=serial", "fleet.chips=4",
        "fault_rates.rates=[0.1,0.4]", "fault_rates.maps_per_rate=2", "compare=[none]",
        "training.budget_epochs=4", "training.eval_every_epochs=2", "baseline.epochs=15",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "baseline   mse 0." in result.stdout
    assert "target: at most 0." in result.stdout
    assert "test mse: baseline 0." in result.stdout
    run = run_folder(tmp_path)
    document = json.loads((run / "resilience_map.json").read_text())
    assert document["metric"] == "mse"
    points = rows(run / "curves.csv")
    start, end = (
        np.mean([float(p["val_metric"]) for p in points if float(p["amount_epochs"]) == epoch])
        for epoch in (0, 4)
    )
    assert end < start  # retraining lowers the error
    summary = json.loads((run / "summary.json").read_text())
    chips = rows(run / "chips.csv")
    for chip in chips:
        met = float(chip["test_after"]) <= summary["targets"]["test"]
        assert met == (chip["pass_test"] == "True")
    assert summary["strategies"][0]["worst_test"] == max(float(c["test_after"]) for c in chips)
    assert (run / "figures/curves.png").exists()


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
