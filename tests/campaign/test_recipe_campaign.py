"""A campaign whose chips are repaired: its files, and what is found again."""

import copy
import json

import pytest

from efat import SystolicArray, mask_model
from efat.data.digits import Digits
from efat.hardware.fleets import load_fleet
from efat.models.resnet import ResNet
from efat.nn.repair import load_repaired
from tests.cli.command_line import efat, rows, run_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny campaign whose chips are repaired: its home, and its folder."""
    home = tmp_path_factory.mktemp("campaign")
    ran = efat(home, *TINY)
    assert ran.returncode == 0, ran.stderr
    folder = run_folder(home)
    return home, folder, ran


TINY = (
    "+experiment=resnet_fat", "recipe=remap_compensate", "rules=few_models", "executor=serial",
    "model.width=8", "baseline.epochs=6", "fault_rates.rates=[0.1,0.3]",
    "fault_rates.maps_per_rate=1", "training.budget_epochs=0.25", "fleet.chips=5",
    "fleet.fault_rate=[0.02,0.08]", "selection.max_drop=0.05", "compare=[none,individual]",
    "training.eval_every_epochs=0.125", "recipe.samples=300",
)  # fmt: skip


def test_a_campaign_deploys_repaired_models_with_their_placement(run):
    _, folder, ran = run
    summary = json.loads((folder / "summary.json").read_text())
    chosen, none, individual = summary["strategies"]
    assert chosen["models"] < individual["models"] == 5
    assert chosen["retraining"]["steps"] == 0 == individual["retraining"]["steps"]
    assert chosen["repair_s"] > 0 == none["repair_s"]
    assert summary["calibration_s"] > 0 < summary["analysis_repair_s"]
    assert (
        "recipe     remap (columns), compensate (one_shot), retrain; Gram matrices of 300"
        in ran.stdout
    )
    page = (folder / "report.md").read_text()
    assert "models and no retraining." in page or "1 model and no retraining." in page
    assert "address generation only" in page
    data = Digits()
    data.setup("test")
    x, y = data.splits["test"]
    maps = {chip.chip_id: chip.fault_map for chip in load_fleet(folder / "fleet.npz")}
    for row in rows(folder / "chips.csv"):
        state, placement = load_repaired(folder / "models" / f"{row['group']}.safetensors")
        model = ResNet(8, 10, 1, 8)
        model.load_state_dict(state)
        own = mask_model(copy.deepcopy(model).eval(), maps[row["chip_id"]], SystolicArray(16, 16),
                         placement=placement)  # fmt: skip
        assert placement
        hits = (own(x).argmax(1) == y).float().mean()
        assert float(row["test_after"]) == pytest.approx(float(hits))


def test_pruned_shares_are_those_of_the_placed_weights(run):
    _, folder, _ = run
    state, _ = load_repaired(folder / "models" / "group000.safetensors")
    zeros = {n: float((w == 0).float().mean()) for n, w in state.items()}
    shares = {row["layer"]: row for row in rows(folder / "layers.csv")}
    groups = json.loads((folder / "plan.json").read_text())["groups"]
    assert zeros.keys() >= shares.keys()
    for name, row in shares.items():
        if len(groups) == 1:
            assert float(row["models_mean"]) == pytest.approx(zeros[name])
        assert float(row["models_min"]) <= zeros[name] + 1e-6
        assert zeros[name] <= float(row["models_max"]) + 1e-6


def test_what_is_done_is_found_again_and_new_chips_take_repaired_models(run, tmp_path):
    home, folder, _ = run
    status = efat(home, *TINY, "stage=status")
    assert "measure_grams" in status.stdout
    assert "missing" in status.stdout
    assert all(line.split()[3] == "0" for line in status.stdout.splitlines()[2:])
    again = efat(home, *TINY, "stage=assign", f"library={folder}", "fleet.chips=5")
    assert again.returncode == 0, again.stderr
    (assigned,) = home.glob("outputs/resnet_fat/*/assignment.csv")
    before = {row["chip_id"]: row for row in rows(folder / "chips.csv")}
    for row in rows(assigned):
        assert row["action"] == "covered"
        assert row["test_after"] == before[row["chip_id"]]["test_after"]
    other = efat(home, *TINY, "recipe.mode=sequential", "stage=assign", f"library={folder}")
    assert other.returncode == 2
    assert "recipe.mode: sequential given, one_shot in the library" in other.stderr


def test_the_map_is_the_same_for_less(tmp_path):
    fast = (*TINY, "stage=analyse", "fault_rates.maps_per_rate=1")
    assert efat(tmp_path, *fast).returncode == 0
    assert efat(tmp_path, *fast, "name=until", "fault_rates.until_met=true").returncode == 0
    (whole,) = tmp_path.glob("outputs/resnet_fat/*")
    (until,) = tmp_path.glob("outputs/until/*")
    maps = [(folder / "resilience_map.json").read_text() for folder in (whole, until)]
    assert maps[0] == maps[1]
    assert len(rows(until / "curves.csv")) < len(rows(whole / "curves.csv"))
