"""A campaign that tops up, from the command line to its files."""

import json

import pytest

from efat import SystolicArray
from efat.hardware.chip import Chip, Fleet
from efat.hardware.fleets import save_fleet, uniform_fleet
from tests.cli.command_line import efat, rows, run_folder

CAMPAIGN = (
    "+experiment=resnet_fat", "recipe.steps=[retrain,top_up]", "executor=serial", "model.width=4",
    "baseline.epochs=4", "fault_rates.rates=[0.4]", "fault_rates.maps_per_rate=3",
    "training.budget_epochs=1", "training.eval_every_epochs=0.125", "fleet.chips=4",
    "fleet.fault_rate=[0.1,0.39]", "selection.max_drop=0.04", "selection.interpolation=linear",
    "compare=[none,early_stop]", "planner=greedy", "selection.stat=quantile",
    "selection.quantile=0",
)  # fmt: skip
"""Amounts of the best map of three: too little for others."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("campaign")
    ran = efat(home, *CAMPAIGN)
    assert ran.returncode == 0, ran.stderr
    folder = run_folder(home)
    return folder, ran


def test_a_campaign_reports_what_it_planned_and_what_it_trained(run):
    folder, ran = run
    groups = rows(folder / "groups.csv")
    summary = json.loads((folder / "summary.json").read_text())
    target, chosen = summary["targets"]["val"], summary["strategies"][0]
    planned = [float(row["amount_steps"]) for row in groups]
    trained = [int(row["trained_steps"]) for row in groups]
    longer = [(p, t) for p, t in zip(planned, trained, strict=True) if t > p]
    assert longer
    assert all((t - p) % 4 == 0 for p, t in longer)
    assert chosen["retraining"]["steps"] == sum(trained)
    assert chosen["topped_up"] == len(longer)
    assert chosen["topped_up_steps"] == sum(t - p for p, t in longer)
    assert chosen["retraining"]["evaluations"] == len(groups) + sum((t - p) / 4 for p, t in longer)
    by_group = {row["group"]: int(row["trained_steps"]) for row in groups}
    for chip in rows(folder / "chips.csv"):
        assert int(chip["trained_steps"]) == by_group[chip["group"]]
        met = float(chip["val_after"]) >= target
        assert met == (chip["group"] not in chosen["failing_groups"])
    p, t = longer[0]
    said = f"planned {p / 33:.2f}, trained {t / 33:.2f}"  # 33 steps an epoch
    assert said in " ".join(ran.stdout.split())
    assert said in (folder / "report.md").read_text()
    assert [row["group"] for row in groups if row["topped_up"] == "True"] == [
        row["group"] for row, p, t in zip(groups, planned, trained, strict=True) if t > p
    ]
    counted = chosen["retraining"]["evaluations"]
    assert f"during the trainings, on validation: greedy {counted}, early_stop" in ran.stdout
    units = [r for r in rows(folder / "units.csv") if r["stage"] == "retrain"]
    assert {t for _, t in longer} <= {int(row["steps"]) for row in units}


def test_early_stop_trains_each_chip_on_its_own_without_an_analysis(run):
    folder, ran = run
    summary = json.loads((folder / "summary.json").read_text())
    chosen, none, alone = summary["strategies"]
    assert [s["needs_analysis"] for s in (chosen, none, alone)] == [True, False, False]
    assert (alone["name"], alone["models"], alone["topped_up"]) == ("early_stop", 4, 0)
    steps, evaluations = (alone["retraining"][name] for name in ("steps", "evaluations"))
    assert evaluations == steps / 4 + 4  # each chip before any training, then every interval
    assert alone["pass_val"] == 4 - len(alone["failing_groups"])
    (line,) = [c for c in map(str.split, ran.stdout.splitlines()) if c[:1] == ["early_stop"]]
    assert line[2] == line[3] == f"{steps / 33:.1f}"  # epochs, with and without the analysis
    assert line[4] == line[5]
    text = (folder / "report.md").read_text()
    assert "it needs no analysis, while greedy takes " in text
    assert f"| {steps / 33:.1f} | {steps / 33:.1f} | {evaluations} |" in text


@pytest.mark.slow
def test_workers_change_nothing(run, tmp_path):
    folder, _ = run
    ran = efat(tmp_path, *CAMPAIGN, "executor=processes", "executor.workers=2")
    assert ran.returncode == 0, ran.stderr
    (other,) = tmp_path.glob("outputs/resnet_fat/*")
    names = ["groups.csv", "chips.csv", "plan.json"]
    names += [f"models/{p.name}" for p in (folder / "models").iterdir()]
    for name in names:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.slow
def test_new_chips_are_topped_up_too(run):
    folder, _ = run
    home = folder.parents[2]
    (drawn,) = uniform_fleet(SystolicArray(16, 16), 3, 1, 0.38)
    save_fleet(Fleet((Chip("new", drawn.fault_map),)), home / "new.npz")
    fleet = ("fleet=file", f"fleet.path={home / 'new.npz'}")
    words = [w for w in CAMPAIGN if not w.startswith("fleet.")]
    found = efat(home, *words, *fleet, "stage=assign", f"library={folder}")
    assert found.returncode == 0, found.stderr
    (path,) = home.glob("outputs/resnet_fat/*/assignment.json")
    units = rows(path.parent / "units.csv")
    (trained,) = [int(row["steps"]) for row in units if row["stage"] == "retrain"]
    (planned,) = [json.loads(row["config"]) for row in units if row["stage"] == "retrain"]
    document = json.loads(path.read_text())
    assert document["trained_steps"] == trained == document["chips"][0]["model_steps"]
    assert trained > 4
    assert planned == {}
