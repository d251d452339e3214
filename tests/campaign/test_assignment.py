"""New chips to the models of an earlier run, from the command line."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

from efat import FaultMap, mask_model
from efat.hardware.chip import Chip, Fleet
from efat.hardware.fleets import load_fleet, save_fleet, uniform_fleet
from efat.hardware.mapping import SystolicArray
from efat.models.resnet import ResNet
from tests.cli.command_line import TINY, efat, rows, run_folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The outputs of a tiny campaign."""
    folder = tmp_path_factory.mktemp("finished")
    result = efat(folder, *TINY, "executor=serial", "compare=[none]")
    assert result.returncode == 0, result.stderr
    return folder / "outputs"


@pytest.fixture
def library(finished, tmp_path):
    """A copy of the campaign, and two new chips: one that group000 covers, one of its own."""
    shutil.copytree(finished, tmp_path / "outputs")
    run = run_folder(tmp_path)
    fused = {chip.chip_id: chip.fault_map.faulty for chip in load_fleet(run / "fused_maps.npz")}
    part = fused["group000"].copy()
    part[::2] = False
    own = np.zeros_like(part)
    own[0, :5] = ~fused["group000"][0, :5]
    own[8:, :5] = ~fused["group000"][8:, :5]
    chips = (Chip("covered", FaultMap(part)), Chip("own", FaultMap(own)))
    save_fleet(Fleet(chips), tmp_path / "new.npz")
    return run


def assign(tmp_path, library, *more, tiny=TINY):
    arguments = [a for a in tiny if not a.startswith("fleet.")]
    arguments += ["stage=assign", "fleet=file", "fleet.path=new.npz", "executor=serial"]
    return efat(tmp_path, *arguments, f"library={library}", *more)


def test_new_chips_are_assigned_trained_and_measured(library, tmp_path):
    whole = {p: p.read_bytes() for p in library.rglob("*") if p.is_file()}
    result = assign(tmp_path, library, "name=first")
    assert result.returncode == 0, result.stdout + result.stderr
    (table,) = tmp_path.glob("outputs/first/*/assignment.csv")
    covered, own = rows(table)
    assert (covered["action"], covered["model"], covered["model_steps"]) == (
        "covered",
        "group000",
        "0",
    )
    assert (own["action"], covered["price"]) == ("alone", "0.0")
    assert float(own["model_steps"]) > 0
    assert "retrain 1," in result.stdout
    changed = {p.name for p, content in whole.items() if p.read_bytes() != content}
    assert changed == {"library.json"}
    model = ResNet(8, 10, 1, width=8)
    checkpoint = library / "models" / f"{own['model']}.safetensors"
    model.load_state_dict(safetensors.torch.load_file(checkpoint), strict=True)
    own_map = load_fleet(tmp_path / "new.npz").chips[1].fault_map
    before = model.conv1.weight.clone()
    mask_model(model, own_map, SystolicArray(16, 16))
    assert torch.equal(model.conv1.weight, before)  # trained for this chip's map
    document = json.loads(table.with_suffix(".json").read_text())
    assert [row["chip_id"] for row in document["chips"]] == ["covered", "own"]

    after = {p: p.read_bytes() for p in library.rglob("*") if p.is_file()}
    again = assign(tmp_path, library, "name=second")
    assert again.returncode == 0
    assert "unchanged, every chip was there already" in " ".join(again.stdout.split())
    assert "retrain 0, evaluate 0" in again.stdout
    assert {p: p.read_bytes() for p in library.rglob("*") if p.is_file()} == after


def test_chips_that_do_not_fit_a_library_are_refused_before_any_work(library, tmp_path):
    def refused(*more, where=library, tiny=TINY):
        before = sorted(tmp_path.rglob("*"))
        result = assign(tmp_path, where, *more, tiny=tiny)
        assert result.returncode == 2, result.stdout
        assert sorted(tmp_path.rglob("*")) == before
        return result.stderr

    assert "no library.json in it" in refused(where="nowhere")
    assert "library: not given; stage=assign needs the folder" in refused(where="null")
    save_fleet(uniform_fleet(SystolicArray(8, 8), 0, 2, 0.1), tmp_path / "small.npz")
    problem = refused("array=ws_8", "fleet.path=small.npz")
    assert "is for arrays of 16x16 PEs; the array has 8x8" in problem
    problem = refused("model.width=4", "selection.max_drop=0.2")
    assert "model.width: 4 given, 8 in the library; selection.max_drop: 0.2 given, 0.05" in problem
    assert "weights of group000 are not in the store elsewhere" in refused("store=elsewhere")
    clash = Chip("chip0", FaultMap(np.eye(16, dtype=bool)))
    save_fleet(Fleet((clash,)), tmp_path / "clash.npz")
    problem = refused("fleet.path=clash.npz")
    assert "chip 'chip0': the library has a chip of this name with another fault map" in problem
    result = efat(tmp_path, *TINY, f"library={library}")
    assert (result.returncode, "only stage=assign uses one" in result.stderr) == (2, True)


def test_plans_that_cannot_be_are_refused_before_the_analysis(tmp_path):
    result = efat(
        tmp_path, *TINY, "planner=exact", "fleet.chips=21", "rules.alone=[nobody]",
        "rules.max_groups=2", "rules.max_members=2", "fleet.fault_rate=0.1", "executor=serial",
    )  # fmt: skip
    assert result.returncode == 2
    for key in ("planner: exact was given 21", "rules.alone: 'nobody'", "rules.max_groups: 2"):
        assert result.stderr.count(f"error: {key}") == 1
    result = efat(tmp_path, *TINY, "rules.max_groups=0", "executor=serial")
    assert (result.returncode, result.stderr.count("rules.max_groups: 0")) == (2, 1)
    assert not list(tmp_path.iterdir())
