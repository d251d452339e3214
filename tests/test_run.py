"""The command line, from the outside: what it prints, writes and returns."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from omegaconf import OmegaConf

from efat import FaultMap, mask_model, verify_masks
from efat.chips import Chip, Fleet
from efat.config import CONF, STAGES
from efat.data.digits import Digits
from efat.fleets import load_fleet, save_fleet, uniform_fleet
from efat.mapping import SystolicArray
from efat.models.resnet import ResNet
from efat.preflight import build_experiment
from efat.run import main
from efat.sweep import ResultsTable
from efat.tracking import wandb_dashboard

TINY = (
    "+experiment=resnet_fat",
    "model.width=8",
    "baseline.epochs=6",
    "fault_rates.rates=[0.05,0.3,0.6]",
    "fault_rates.maps_per_rate=2",
    "training.budget_epochs=1",
    "training.eval_every_epochs=0.25",
    "fleet.chips=6",
    "selection.max_drop=0.05",
)
SAME = (
    "curves.csv",
    "resilience_map.json",
    "plan.json",
    "chips.csv",
    "fleet.npz",
    "fused_maps.npz",
)


@dataclass
class Ran:
    returncode: int
    stdout: str
    stderr: str


def efat(folder, *arguments):
    """Run the command line in `folder`, in this process: importing Lightning takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["efat", *arguments])
        patch.setenv("COLUMNS", "100")
        returncode = main()
    return Ran(returncode, out.getvalue(), err.getvalue())


def efat_process(folder, *arguments):
    """Run the command line as a user does."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    command = [sys.executable, "-m", "efat.run", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run_folder(folder):
    (found,) = folder.glob("outputs/*/*/config.yaml")
    return found.parent


def rows(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One whole tiny campaign in this process alone."""
    folder = tmp_path_factory.mktemp("serial")
    result = efat(folder, *TINY, "executor=serial", "tracking=wandb")
    assert result.returncode == 0, result.stderr
    return folder, result


def test_everything_is_where_it_says(done):
    folder, result = done
    run = run_folder(folder)
    for name in (*SAME, "summary.json", "config.yaml", "models", "report.html", "layers.csv",
                 "made.json"):  # fmt: skip
        assert (run / name).exists(), name
        assert name.split(".")[0] in result.stdout
    figures = {f.stem for f in (run / "figures").iterdir()}
    assert figures == {
        "curves", "resilience_map", "strategies", "fault_maps", "fleet", "groups", "merges",
        "rewards", "overlaps", "fault_rates",
    }  # fmt: skip
    assert set(wandb_dashboard.FIGURES) <= figures
    assert str(run.relative_to(folder)) in result.stdout.replace("\n", "")
    assert len(rows(run / "curves.csv")) == 3 * 2 * 5
    assert len(result.stdout.splitlines()) < 60  # no walls of log
    assert result.stderr == ""


def test_the_numbers_add_up(done):
    run = run_folder(done[0])
    summary, plan = (json.loads((run / f"{n}.json").read_text()) for n in ("summary", "plan"))
    chips = rows(run / "chips.csv")
    assert [s["name"] for s in summary["strategies"]] == [
        "best", "none", "greedy", "fixed", "individual", "single", "random",
    ]  # fmt: skip
    best = summary["strategies"][0]
    assert best["retraining"]["steps"] <= summary["strategies"][2]["retraining"]["steps"]
    assert best["models"] == len(plan["groups"]) == len(list((run / "models").iterdir()))
    assert best["retraining"]["steps"] == plan["total_steps"]
    assert best["retraining"]["samples"] == 32 * plan["total_steps"]
    assert summary["analysis"]["steps"] == 3 * 2 * 32
    assert best["met_test"] == sum(chip["met_test"] == "True" for chip in chips)
    tests = [float(chip["test_after"]) for chip in chips]
    assert best["mean_test"] == pytest.approx(sum(tests) / len(tests))
    assert best["worst_test"] == min(tests)
    assert set(best["short"]) == {c["chip_id"] for c in chips if c["met_test"] == "False"}
    assert len(chips) == 6


def test_checkpoints_load_into_the_plain_model_and_give_the_reported_accuracy(done):
    run = run_folder(done[0])
    fleet = {chip.chip_id: chip.fault_map for chip in load_fleet(run / "fleet.npz")}
    data = Digits()
    data.setup("test")
    x, y = data.splits["test"]
    checked = 0
    for row in rows(run / "chips.csv"):
        if not row["group"]:
            continue
        model = ResNet(8, 10, 1, width=8)
        weights = safetensors.torch.load_file(run / "models" / f"{row['group']}.safetensors")
        model.load_state_dict(weights, strict=True)
        before = model.conv1.weight.clone()
        mask_model(model.eval(), fleet[row["chip_id"]], SystolicArray(16, 16))
        verify_masks(model)
        assert torch.equal(model.conv1.weight, before)  # the chip prunes nothing that lives
        accuracy = float((model(x).argmax(1) == y).float().mean())
        assert accuracy == pytest.approx(float(row["test_after"]), abs=1e-6)
        checked += 1
    assert checked


def test_wandb_wrote_an_offline_run(done):
    run = run_folder(done[0])
    trained = [row for row in rows(run / "units.csv") if row["stage"] != "evaluate"]
    offline = {p.stem.removeprefix("run-") for p in run.glob("wandb/offline-run-*/*.wandb")}
    assert {row["key"][:16] for row in trained} <= offline
    assert len(offline) == len(trained) + 5 + 1  # one a stage for the lineage, and the campaign's
    assert "tracking" not in done[1].stdout


def test_worker_processes_give_the_same_bytes_as_one_process(done, tmp_path):
    result = efat_process(tmp_path, *TINY, "executor=processes", "executor.workers=2")
    assert result.returncode == 0, result.stderr
    for name in SAME:
        assert (run_folder(tmp_path) / name).read_bytes() == (
            run_folder(done[0]) / name
        ).read_bytes()
    for file in (run_folder(done[0]) / "models").iterdir():
        assert (run_folder(tmp_path) / "models" / file.name).read_bytes() == file.read_bytes()


def test_stages_one_by_one_reuse_what_is_saved(tmp_path):
    expected = {
        "pretrain": "pretrain 1",
        "analyse": "pretrain 0, analyse 6",
        "plan": "pretrain 0, analyse 0",
        "retrain": "pretrain 0, analyse 0, retrain",
        "evaluate": "pretrain 0, analyse 0, retrain 0, evaluate",
    }
    for stage, units in expected.items():
        result = efat(
            tmp_path, *TINY, f"stage={stage}", "executor=serial", "compare=[]", f"name={stage}"
        )
        assert result.returncode == 0, result.stderr
        assert units in result.stdout, result.stdout


def test_a_damaged_result_is_computed_again(tmp_path):
    arguments = (*TINY, "stage=analyse", "executor=serial")
    assert efat(tmp_path, *arguments).returncode == 0
    first = (run_folder(tmp_path) / "curves.csv").read_bytes()
    victim = next((tmp_path / "outputs/store/analyse").glob("*.json"))
    victim.write_bytes(victim.read_bytes()[:-40])
    result = efat(tmp_path, *arguments, "name=again")
    assert "analyse 1" in result.stdout
    assert next(tmp_path.glob("outputs/again/*/curves.csv")).read_bytes() == first


def test_single_trains_one_chip(tmp_path):
    result = efat(
        tmp_path, "+experiment=single_fat", "model=mlp", "baseline.epochs=10",
        "training.budget_epochs=1", "executor=serial", "fleet.fault_rate=0.3",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "30.1% of the PEs faulty" in result.stdout
    assert len(rows(run_folder(tmp_path) / "curves.csv")) == 5
    assert (run_folder(tmp_path) / "models/group000.safetensors").exists()


# ---- new chips to the models of an earlier run --------------------------------------------------


@pytest.fixture
def library(done, tmp_path):
    """A copy of the campaign, and two new chips: one that group000 covers, one of its own."""
    shutil.copytree(done[0] / "outputs", tmp_path / "outputs")
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
    assert "model.width: 4 here, 8 there; selection.max_drop: 0.2 here, 0.05 there" in problem
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


def test_a_sweep_runs_every_job(tmp_path):
    result = efat(
        tmp_path, "-m", *TINY, "stage=plan", "planner=greedy,individual", "array=ws_8,ws_16",
        "executor=serial",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    plans = sorted(tmp_path.glob("outputs/*/sweep_*/*/plan.json"))
    assert [json.loads(p.read_text())["planner"] for p in plans] == [
        "greedy", "greedy", "individual", "individual",
    ]  # fmt: skip
    assert result.stdout.count("pretrain 1") == 1  # one baseline for all of them
    assert result.stdout.count("analyse 6") == 2  # one analysis an array
    (table,) = tmp_path.glob("outputs/*/sweep_*/results.csv")
    assert [row["job"] for row in rows(table)] == ["0", "1", "2", "3"]
    assert "planner=individual array=ws_8" in rows(table)[2]["overrides"]
    assert str(table.relative_to(tmp_path)) in result.stdout


def test_a_failing_job_of_a_sweep_is_in_its_table_whoever_launched_it(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    result = efat(
        tmp_path, "-m", *TINY, "stage=pretrain", "executor=serial", "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2", "selection.max_drop=null", "selection.limit=0.1,0.9999",
    )  # fmt: skip
    (table,) = tmp_path.glob("outputs/*/sweep_*/results.csv")
    assert [row["status"] for row in rows(table)] == ["0", "1"]
    assert "selection.limit" in rows(table)[1]["problem"]
    assert result.returncode == 1


def test_a_sweep_cannot_mix_work_with_its_state(tmp_path):
    result = efat(tmp_path, "-m", *TINY, "stage=status,pretrain")
    assert result.returncode == 2
    assert "stage: pretrain, status given; status cannot share a sweep" in result.stderr
    assert not list(tmp_path.iterdir())


def test_forced_keys_and_numbers_of_one_part_are_all_named(tmp_path):
    forced = ("+executor.foo=1", "+executor.bar=2", "+model.foo=1", "+model.bar=2")
    result = efat(tmp_path, *TINY, *forced)
    assert result.returncode == 2
    for key in ("executor.foo: 1", "executor.bar: 2", "model.foo: 1", "model.bar: 2"):
        assert key in result.stderr
    result = efat(
        tmp_path, *TINY, "executor=processes", "executor.workers=0", "executor.retries=-1"
    )
    assert result.returncode == 2
    assert "executor.workers: 0" in result.stderr
    assert "executor.retries: -1" in result.stderr


def test_bad_keys_are_named_where_a_configuration_is_only_shown(tmp_path):
    for flags in (["--cfg", "job"], ["--help"]):
        result = efat(tmp_path, *flags, "+experiment=resnet_fat", "modle=x", "sede=1")
        assert result.returncode == 2
        assert "modle: no such key" in result.stderr
        assert "sede: no such key" in result.stderr


def test_the_table_of_a_sweep_has_the_costs_and_results_of_its_jobs(done, tmp_path):
    job = tmp_path / "0"
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra/overrides.yaml").write_text("[seed=0, planner=greedy]")
    shutil.copy(run_folder(done[0]) / "summary.json", job)
    ResultsTable().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    table = rows(tmp_path / "results.csv")
    summary = json.loads((job / "summary.json").read_text())
    assert [row["strategy"] for row in table] == [s["name"] for s in summary["strategies"]]
    steps = [str(s["retraining"]["steps"]) for s in summary["strategies"]]
    assert [row["retraining_steps"] for row in table] == steps
    assert {row["overrides"] for row in table} == {"seed=0 planner=greedy"}


def counts(result):
    """Read the table of `stage=status`: done, running and missing units by stage."""
    lines = [line.split() for line in result.stdout.splitlines()[2:]]
    return {words[0]: words[1:4] for words in lines}


def test_status_says_what_would_run_and_writes_nothing(tmp_path):
    result = efat(tmp_path, *TINY, "stage=status", "executor=serial")
    assert result.returncode == 0, result.stderr
    assert counts(result) == {
        "pretrain": ["0", "0", "1"],
        "analyse": ["0", "0", "6"],
        "retrain": ["not", "known", "yet"],
        "evaluate": ["not", "known", "yet"],
    }
    assert not list(tmp_path.iterdir())


def test_status_sees_what_is_done_and_what_another_rate_would_add(done):
    folder, result = done
    found = counts(efat(folder, *TINY, "stage=status", "executor=serial"))
    assert found["pretrain"] == ["1", "0", "0"]
    assert found["analyse"] == ["6", "0", "0"]
    assert found["evaluate"][1:] == ["0", "0"]
    (units,) = re.findall(r"retrain (\d+), evaluate (\d+)", result.stdout)
    assert (found["retrain"][0], found["evaluate"][0]) == units
    more = (*TINY, "fault_rates.rates=[0.05,0.2,0.3,0.6]", "stage=status", "executor=serial")
    found = efat(folder, *more).stdout
    assert re.search(r"analyse +6 +0 +2 +2\.8 +about \d+", found)  # 2 x (32 + 5 x 3) of 33 steps


def test_units_csv_leads_to_the_logs(done):
    folder, result = done
    table = rows(run_folder(folder) / "units.csv")
    assert {row["state"] for row in table} == {"computed"}
    stages = [row["stage"] for row in table]
    assert f"analyse {stages.count('analyse')}, retrain {stages.count('retrain')}" in result.stdout
    assert all("attempt 1" in (folder / row["log"]).read_text() for row in table)


def test_a_store_of_an_older_version_is_refused(tmp_path):
    old = tmp_path / "old/analyse/abc.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    result = efat(tmp_path, *TINY, "store=old", "executor=serial")
    assert result.returncode == 2
    assert "store: old given; an older version of efat wrote it (layout 1, this" in result.stderr
    result = efat(tmp_path, *TINY, f"store={old}/below", "executor=serial")
    assert result.returncode == 2
    assert "below given; it cannot be written (Not a directory)" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_chips_from_a_file(tmp_path):
    save_fleet(uniform_fleet(SystolicArray(8, 8), 0, 3, [0, 0.2]), tmp_path / "chips.npz")
    arguments = (*TINY[:-2], "executor=serial", "array=ws_8", "fleet=file", "stage=plan")
    result = efat(tmp_path, *arguments, "fleet.path=chips.npz")
    assert result.returncode == 0, result.stderr
    plan = json.loads((run_folder(tmp_path) / "plan.json").read_text())
    members = [m for group in plan["groups"] for m in group["members"]]
    assert sorted(members + plan["unsalvageable"]) == ["chip0", "chip1", "chip2"]


# ---- what cannot be -----------------------------------------------------------------------------


def errors(result):
    """Return the problems printed, by key; nothing else may be on standard error."""
    lines = result.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines), result.stderr
    assert len(set(lines)) == len(lines)
    return [line.removeprefix("error: ") for line in lines]


def test_every_problem_is_named_at_once_and_nothing_is_written(tmp_path):
    """Keys, types and values, of every part, in one round."""
    wanted = {
        "optimizer_typo=1": "optimizer_typo: no such key (1 given); allowed here: array, baseline",
        "array.rowz=8": "array.rowz: no such key (8 given); allowed here: cols, dataflow, off_array"
        ", order, rows",
        "fleet.chps=3": "fleet.chps: no such key (3 given)",
        "training.batch_size=abc": "training.batch_size: no such key (abc given)",
        "selection=nosuch": "selection: nosuch given; allowed: drop_1",
        "seed=x": "seed: x given; an int is needed",
        "trainer.accumulate_grad_batches=x": "trainer.accumulate_grad_batches: x given; an int",
        "array.rows=0": "array.rows: 0 given; an int >= 1 is needed",
        "array.dataflow=xx": "array.dataflow: 'xx' given; one of ws, os, is is needed",
        "fault_rates.rates=[0.2,1.2]": "fault_rates.rates: [0.2, 1.2] given",
        "fault_rates.maps_per_rate=0": "fault_rates.maps_per_rate: 0 given",
        "fleet.fault_rate=3": "fleet.fault_rate: 3 given",
        "fleet.chips=0": "fleet.chips: 0 given",
        "stage=everything": "stage: 'everything' given",
        "training.budget_epochs=-1": "training.budget_epochs: -1.0 given",
        "planner.chunk=1": "planner.chunk: 1 given",
        "compare=[none,best]": "compare: 'best' given",
        "training.optimizer.lr=-1": "training.optimizer: ValueError: Invalid learning rate: -1",
        "+baseline.scheduler.gama=1": "baseline.scheduler: ",
        "executor.workers=0": "executor.workers: 0 given",
        "model.depth=9": "model.depth: 9 given",
        "data.batch_size=5000": "data.batch_size: larger than the training split",
        "trainer.accelerator=abacus": "trainer.accelerator: ",
        "trainer.precision=7": "trainer.precision: ValueError: Precision '7' is invalid",
        "trainer.gradient_clip_val=-1": "trainer.gradient_clip_val: -1.0 given",
        "name=a/b": "name: 'a/b' given",
    }
    result = efat(tmp_path, *wanted)
    assert result.returncode == 2
    found = errors(result)
    for start in wanted.values():
        assert sum(problem.startswith(start) for problem in found) == 1, (start, found)
    assert len(found) == len(wanted), found
    assert not list(tmp_path.iterdir())


def test_values_that_depend_on_one_left_out_are_not_judged(tmp_path):
    """Defaults stand in for what cannot be; nobody asked for them."""
    bad = {
        "training.budget_epochs=x": "training.eval_every_epochs=9",
        "array.rows=two": "fault_rates.rates=[0.001]",
        "selection.max_drop=x": "selection.limit=0.9",
        "array.dataflow=xx": "selection.severity=weight_rate",
        "model.num_clases=3": "model.num_classes=3",
        "data.batch_size=0": "trainer.accumulate_grad_batches=7",
    }
    found = errors(efat(tmp_path, *bad, *bad.values()))
    keys = {override.split("=")[0] for override in bad}
    assert {problem.split(":")[0] for problem in found} == keys
    assert len(found) == len(keys)


def test_a_fleet_file_is_checked_while_the_array_is_wrong(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK truncated")
    found = errors(efat(tmp_path, "array.rows=0", "fleet=file", "fleet.path=bad.npz"))
    assert found[0] == "array.rows: 0 given; an int >= 1 is needed"
    assert found[1].startswith("bad.npz: not a readable fleet file")
    assert len(found) == 2


def test_a_sweep_names_all_problems_of_all_jobs_and_starts_nothing(tmp_path):
    result = efat(
        tmp_path, "-m", "array.rows=0,-1", "planner=greedy,nosuch", "seed=-3", "fleet.chps=1"
    )
    assert result.returncode == 2
    found = errors(result)
    wanted = {
        "array.rows: 0 given; an int >= 1 is needed [jobs with array.rows=0]",
        "array.rows: -1 given; an int >= 1 is needed [jobs with array.rows=-1]",
        "seed: -3 given; an int >= 0 is needed",
        "fleet.chps: no such key (1 given); allowed here: _target_, chips, fault_rate",
    }
    assert wanted <= set(found)
    (planner,) = set(found) - wanted
    assert planner.startswith("planner: nosuch given; allowed: best, ")
    assert planner.endswith("[jobs with planner=nosuch]")
    assert not list(tmp_path.iterdir())


def test_a_problem_of_a_combination_names_the_jobs_one_by_one(tmp_path):
    result = efat(
        tmp_path, "-m", "array.dataflow=ws,os", "selection.severity=array_rate,weight_rate,x"
    )
    assert errors(result) == [
        "selection.severity: 'x' given; allowed: array_rate, weight_rate, magnitude_rate, "
        "taylor_rate [jobs with selection.severity=x]",
        "selection.severity: weight_rate given, but array.dataflow=os prunes no weight; use "
        "array_rate [jobs with array.dataflow=os selection.severity=weight_rate]",
    ]


def test_an_accelerator_that_is_not_there_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    (problem,) = errors(efat(tmp_path, "trainer=gpu"))
    assert problem.startswith("trainer.accelerator: gpu given; Lightning: No supported gpu")
    assert "; use trainer=cpu, or a machine with such a device" in problem


def test_an_experiment_is_built_once(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(
        "efat.preflight.build_experiment", partial(_counted, built, build_experiment)
    )
    arguments = ("+experiment=resnet_fat", "stage=fleet", "executor=serial")
    assert efat(tmp_path, *arguments).returncode == 0
    assert len(built) == 1


def _counted(built, build, *arguments):
    built.append(arguments)
    return build(*arguments)


BAD = {
    "a broken file": (
        ("fleet=file", "fleet.path=chips.npz"),
        "chips.npz: not a readable fleet file",
    ),
    "no path": (("fleet=file",), "fleet.path: not given; set it with fleet.path=..."),
    "a foreign array": (("fleet=file", "fleet.path=small.npz"), "holds maps of 4x4 PEs"),
    "cosine": (
        (
            "training.scheduler={_target_: torch.optim.lr_scheduler.CosineAnnealingLR, "
            "_partial_: true, T_max: 99}",
        ),
        "training.scheduler: CosineAnnealingLR depends on the budget",
    ),
    "a model without layers": (
        ("model={_target_: torch.nn.Flatten}",),
        "model: no layer maps onto the array",
    ),
    "a fleet rate": (("fleet.fault_rate=[0.1,1.5]",), "fleet.fault_rate: [0.1, 1.5] given"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_any_work(tmp_path, case):
    (tmp_path / "chips.npz").write_bytes(b"PK\x03\x04 truncated")
    save_fleet(uniform_fleet(SystolicArray(4, 4), 0, 2, 0.2), tmp_path / "small.npz")
    before = sorted(tmp_path.iterdir())
    overrides, message = BAD[case]
    arguments = [a for a in TINY if not a.startswith("fleet.") or "fleet=file" not in overrides]
    if "model=" in overrides[0]:
        arguments = [a for a in arguments if not a.startswith("model.")]
        overrides = ("~model", "+" + overrides[0])
    result = efat(tmp_path, *arguments, *overrides, "executor=serial")
    assert result.returncode == 2, result.stdout
    assert message in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_constraint_above_the_baseline_stops_as_soon_as_that_is_known(tmp_path):
    result = efat(
        tmp_path, *TINY[:-1], "selection.max_drop=null", "selection.limit=0.9999",
        "executor=serial",
    )  # fmt: skip
    assert result.returncode == 1
    assert "0.9999 asked for, but the fault-free baseline reaches only" in result.stderr
    assert not (run_folder(tmp_path) / "curves.csv").exists()


def test_an_unreachable_constraint_finishes_and_says_so(tmp_path):
    result = efat(
        tmp_path, *TINY[:-1], "selection.max_drop=0", "fault_rates.rates=[0.6]",
        "training.budget_epochs=0.25", "fleet.fault_rate=0.6", "executor=serial",
    )  # fmt: skip
    assert result.returncode == 1, result.stdout
    assert "none of the fault rates reaches it within the budget" in result.stdout
    names = "unsalvageable within the budget: chip0, chip1, chip2, chip3, chip4, chip5"
    assert names in " ".join(result.stdout.split())
    chips = rows(run_folder(tmp_path) / "chips.csv")
    assert {chip["salvageable"] for chip in chips} == {"False"}
    assert all(chip["test_after"] == chip["test_before"] for chip in chips)


def stopped(*_):
    raise KeyboardInterrupt


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("happens", "status", "message"),
    [
        (stopped, 130, "stopped; finished work is saved"),
        (full, 1, "error: files: [Errno 28] No space"),
    ],
)
def test_ctrl_c_and_a_full_disk_end_in_one_line(tmp_path, monkeypatch, happens, status, message):
    monkeypatch.setattr("efat.campaign.Campaign.run", happens)
    result = efat(tmp_path, *TINY, "executor=serial")
    assert result.returncode == status
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("flag", ["--help", "--cfg=job"])
def test_help_and_cfg_run_nothing(tmp_path, flag):
    result = efat_process(tmp_path, "+experiment=resnet_fat", flag)
    assert result.returncode == 0
    assert "resnet_fat" in result.stdout
    assert not list(tmp_path.iterdir())
    if flag == "--help":
        lines = result.stdout.splitlines()
        assert max(map(len, lines)) <= 100
        assert len(lines) < 80  # a page, not the whole configuration
        listed = set(result.stdout.split())
        assert {path.stem for path in CONF.rglob("*/*.yaml")} <= listed
        assert [stage for stage in STAGES if stage not in result.stdout] == []


def test_the_shell_completes(tmp_path, monkeypatch):
    assert "-F hydra_bash_completion efat" in efat(tmp_path, "-sc", "install=bash").stdout
    for line, words in (
        ("efat planner=gr", ["planner=greedy"]),
        ("efat fleet.ch", ["fleet.chips="]),
        ("efat +experiment=single", ["+experiment=single_fat"]),
    ):
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        result = efat(tmp_path, "-sc", "query=bash")
        assert (result.returncode, result.stdout.split()) == (0, words)
    assert not list(tmp_path.iterdir())


# ---- the whole campaign, with other parts ------------------------------------------------------


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
    )
    result = efat(tmp_path, *arguments, *quick, "selection.max_drop=0.2", *PARTS[part])
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads((run_folder(tmp_path) / "summary.json").read_text())
    assert [s["name"] for s in summary["strategies"]] == ["best", "none"]
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


def test_a_severity_that_the_dataflow_does_not_have(tmp_path):
    result = efat(tmp_path, *TINY, "array.dataflow=os", "selection.severity=weight_rate")
    assert result.returncode == 2
    assert "selection.severity: weight_rate given, but array.dataflow=os" in result.stderr


def test_rates_below_one_pe_are_refused(tmp_path):
    result = efat(tmp_path, *TINY, "fault_rates.rates=[0.001,0.1]")
    assert result.returncode == 2
    assert "fault_rates.rates: [0.001] given; less than one of the array's 256 PEs" in result.stderr


def test_a_testers_list_of_faulty_pes(tmp_path):
    (tmp_path / "chips.csv").write_text("chip_id,row,col\nleft,0,0\nleft,1,3\nright,15,15\n")
    arguments = ("+experiment=resnet_fat", "fleet=file", "stage=fleet", "executor=serial")
    result = efat(tmp_path, *arguments, "fleet.path=chips.csv")
    assert result.returncode == 0, result.stderr
    counts = {
        c.chip_id: c.fault_map.fault_count for c in load_fleet(run_folder(tmp_path) / "fleet.npz")
    }
    assert counts == {"left": 2, "right": 1}
