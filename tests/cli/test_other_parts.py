"""The whole campaign from the command line, with other parts."""

import json

import pytest

from efat.hardware.fleets import load_fleet, save_fleet, uniform_fleet
from efat.hardware.mapping import SystolicArray
from tests.cli.command_line import SHORT, TINY, efat, rows, run_folder


def test_single_trains_one_chip(tmp_path):
    result = efat(
        tmp_path, "+experiment=single_fat", "model=mlp", "baseline.epochs=10",
        "training.budget_epochs=1", "executor=serial", "fleet.fault_rate=0.3",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "30.1% of the PEs faulty" in result.stdout
    assert len(rows(run_folder(tmp_path) / "curves.csv")) == 5
    assert (run_folder(tmp_path) / "models/group000.safetensors").exists()


def test_chips_from_a_file(tmp_path):
    save_fleet(uniform_fleet(SystolicArray(8, 8), 0, 3, [0, 0.2]), tmp_path / "chips.npz")
    arguments = [a for a in SHORT if not a.startswith("fleet.")]
    parts = ("executor=serial", "array=ws_8", "fleet=file", "fleet.path=chips.npz")
    result = efat(tmp_path, *arguments, *parts, "stage=plan")
    assert result.returncode == 0, result.stderr
    plan = json.loads((run_folder(tmp_path) / "plan.json").read_text())
    members = [m for group in plan["groups"] for m in group["members"]]
    assert sorted(members + plan["unsalvageable"]) == ["chip0", "chip1", "chip2"]


def mean_of(points, step):
    values = [float(p["val_metric"]) for p in points if p["amount_steps"] == step]
    return sum(values) / len(values)


def grouped_chips(run):
    plan = json.loads((run / "plan.json").read_text())
    return any(len(group["members"]) > 1 for group in plan["groups"])


PARTS = {
    "output-stationary": ("array.dataflow=os", "array=ws_32"),
    "input-stationary": ("array.dataflow=is", "array=ws_32"),
    "taylor": ("selection.severity=taylor_rate", "array=ws_32"),
    "a layer off the array": ("array.off_array=[linear]", "selection.severity=weight_rate"),
    "a clustered fleet": ("fleet=clustered", "fleet.chips=6"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_campaign_with(part, tmp_path):
    arguments = [
        a for a in TINY if not (a.startswith("fleet.") and any("fleet=" in p for p in PARTS[part]))
    ]
    quick = (
        "executor=serial",
        "compare=[none]",
        "baseline.epochs=3",
        "fault_rates.rates=[0.1,0.5]",
        "fault_rates.maps_per_rate=1",
    )
    result = efat(tmp_path, *arguments, *quick, "selection.max_drop=0.2", *PARTS[part])
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads((run_folder(tmp_path) / "summary.json").read_text())
    assert [s["name"] for s in summary["strategies"]] == ["min_cost", "none"]
    points = rows(run_folder(tmp_path) / "curves.csv")
    accuracy = {step: mean_of(points, step) for step in ("0", "32")}
    assert accuracy["32"] > accuracy["0"] + 0.02  # retraining helps under this mask
    grouped = grouped_chips(run_folder(tmp_path))
    warned = "only on ws arrays" in " ".join(result.stdout.split())
    assert warned == (grouped and "stationary" in part)
    severities = [float(row["severity"]) for row in rows(run_folder(tmp_path) / "chips.csv")]
    rates = [float(row["fault_rate"]) for row in rows(run_folder(tmp_path) / "chips.csv")]
    assert (severities == rates) == ("severity" not in " ".join(PARTS[part]))


def test_fleet_stage_trains_nothing(tmp_path):
    result = efat(tmp_path, "+experiment=resnet_fat", "fleet=lines", "stage=fleet")
    assert result.returncode == 0, result.stderr
    assert "overlap by chance" in result.stdout
    assert (run_folder(tmp_path) / "figures/fleet.png").exists()
    assert not (tmp_path / "outputs/store").exists()


def test_a_testers_list_of_faulty_pes(tmp_path):
    (tmp_path / "chips.csv").write_text("chip_id,row,col\nleft,0,0\nleft,1,3\nright,15,15\n")
    arguments = ("+experiment=resnet_fat", "fleet=file", "stage=fleet", "executor=serial")
    result = efat(tmp_path, *arguments, "fleet.path=chips.csv")
    assert result.returncode == 0, result.stderr
    counts = {
        c.chip_id: c.fault_map.fault_count for c in load_fleet(run_folder(tmp_path) / "fleet.npz")
    }
    assert counts == {"left": 2, "right": 1}
