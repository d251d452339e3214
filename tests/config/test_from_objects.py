"""An experiment from objects: network, data module, array and fleet, run to the end from Python."""

from functools import partial

import pytest

import efat
from efat.campaign import RunResult
from efat.data import Digits
from efat.hardware.fleets import uniform_fleet
from efat.models import MLP, ResNet
from efat.reporting import headline

ARRAY = efat.SystolicArray(8, 16)
SMALL = (
    "baseline.epochs=1", "training.budget_epochs=0.5", "training.eval_every_epochs=0.25",
    "fault_rates.rates=[0.1]", "fault_rates.maps_per_rate=1", "compare=[none]",
    "selection.max_drop=0.9",
)  # fmt: skip


def composed(**changes):
    objects = {
        "network": partial(ResNet, depth=8, num_classes=10, in_channels=1, width=4),
        "data": partial(Digits, batch_size=64),
        "array": ARRAY,
        "fleet": uniform_fleet(ARRAY, 3, 2, 0.1),
    } | changes
    return efat.compose_experiment("resnet_fat", *SMALL, **objects)


def test_it_equals_the_same_experiment_of_the_command_line():
    ours = composed(fleet=None)
    same = efat.compose_experiment(
        "resnet_fat", *SMALL, "array.rows=8", "model.width=4", "data.batch_size=64"
    )
    assert ours.array == same.array
    assert ours.baseline_setup.model == same.baseline_setup.model
    assert ours.amounts == same.amounts


def test_a_campaign_runs_from_objects_and_its_result_comes_back(tmp_path):
    experiment = composed()
    plan = efat.run_experiment(experiment, tmp_path / "a", "plan", store=tmp_path / "store")
    assert sorted(chip for group in plan.plan.groups for chip in group.members) == [
        chip.chip_id for chip in experiment.fleet
    ]
    state = efat.run_experiment(experiment, tmp_path / "b", store=tmp_path / "store")
    result = RunResult.load(tmp_path / "b")
    assert [chip.chip_id for chip in result.chips] == list(state.evaluation.before)
    assert result.plan.total_steps == state.plan.total_steps == plan.plan.total_steps
    assert "of 2 chips pass on test" in headline(result)
    assert {row["state"] for row in result.units if row["stage"] == "analyse"} == {"found"}


def test_what_no_other_process_can_import_is_refused():
    with pytest.raises(efat.EfatError, match="lambda"):
        composed(network=lambda: MLP([64, 10]))
