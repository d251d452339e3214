"""The command line, from the outside: what it prints, writes and returns."""

import json
import re
import shutil

import pytest
import safetensors.torch
import torch
from omegaconf import OmegaConf

from efat import mask_model, verify_masks
from efat.config.schema import CONF, STAGES
from efat.config.sweep import ResultsTable
from efat.data.digits import Digits
from efat.hardware.fleets import load_fleet
from efat.hardware.mapping import SystolicArray
from efat.models.resnet import ResNet
from efat.reporting.tracking import wandb_dashboard
from tests.cli.command_line import SAME, SHORT, TINY, counts, efat, efat_process, rows, run_folder
from tests.reporting.pages import BLOCKS, ROOT


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One whole tiny campaign in this process alone."""
    folder = tmp_path_factory.mktemp("serial")
    result = efat(folder, *TINY, "executor=serial", "tracking=wandb", drawn=True)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_everything_is_where_it_says(done):
    folder, result = done
    run = run_folder(folder)
    for name in (*SAME, "summary.json", "config.yaml", "models", "report.html", "layers.csv",
                 "provenance.json"):  # fmt: skip
        assert (run / name).exists(), name
        assert name.split(".")[0] in result.stdout
    figures = {f.stem for f in (run / "figures").iterdir()}
    assert figures == {
        "curves", "resilience_map", "strategies", "fault_maps", "fleet", "groups", "merges",
        "rewards", "overlaps", "fault_rates",
    }  # fmt: skip
    assert set(wandb_dashboard.FIGURES) <= figures
    assert all(f.stat().st_size > 1000 for f in (run / "figures").iterdir())
    assert len(list((run / "figures").iterdir())) == 3 * len(figures)
    assert str(run.relative_to(folder)) in result.stdout.replace("\n", "")
    assert len(rows(run / "curves.csv")) == 3 * 2 * 5
    assert len(result.stdout.splitlines()) < 60  # no walls of log
    assert result.stderr == ""


def test_the_readme_shows_what_a_run_prints(done):
    """But for the numbers, and for how much a better plan could save."""
    (block,) = (b.text for b in BLOCKS["README.md"] if b.text.startswith("baseline "))
    *lines, last = block.splitlines()
    printed = without_numbers(done[1].stdout)
    assert [line.split()[0] for line in lines] == ["baseline", "analysis", "plan"]
    for line in lines:
        assert without_numbers(re.sub("in total.*", "in total", line)) in printed
    assert last.split("outputs")[0] in printed
    first = without_numbers((run_folder(done[0]) / "report.md").read_text()).split("**")[1]
    assert without_numbers(first) in without_numbers((ROOT / "README.md").read_text())


def without_numbers(text):
    """Return one line of words; counted things are plural."""
    words = re.sub(r"\d[\d.]*", "#", " ".join(text.split()))
    return re.sub(r"# (group|retraining)\b", r"# \1s", words)


def test_the_numbers_add_up(done):
    run = run_folder(done[0])
    summary, plan = (json.loads((run / f"{n}.json").read_text()) for n in ("summary", "plan"))
    chips = rows(run / "chips.csv")
    assert [s["name"] for s in summary["strategies"]] == [
        "min_cost", "none", "greedy", "fixed", "individual", "early_stop", "single", "random",
    ]  # fmt: skip
    best = summary["strategies"][0]
    assert best["retraining"]["steps"] <= summary["strategies"][2]["retraining"]["steps"]
    assert best["models"] == len(plan["groups"]) == len(list((run / "models").iterdir()))
    assert best["retraining"]["steps"] == plan["total_steps"]
    assert best["retraining"]["samples"] == 32 * plan["total_steps"]
    assert summary["analysis"]["steps"] == 3 * 2 * 32
    assert best["pass_test"] == sum(chip["pass_test"] == "True" for chip in chips)
    tests = [float(chip["test_after"]) for chip in chips]
    assert best["mean_test"] == pytest.approx(sum(tests) / len(tests))
    assert best["worst_test"] == min(tests)
    assert set(best["failing"]) == {c["chip_id"] for c in chips if c["pass_test"] == "False"}
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
    result = efat(tmp_path, *TINY, "executor.workers=2", "compare=[none]")
    assert result.returncode == 0, result.stderr
    for name in SAME:
        assert (run_folder(tmp_path) / name).read_bytes() == (
            run_folder(done[0]) / name
        ).read_bytes()
    for file in (run_folder(done[0]) / "models").iterdir():
        assert (run_folder(tmp_path) / "models" / file.name).read_bytes() == file.read_bytes()


def test_a_damaged_result_is_computed_again(tmp_path):
    arguments = (*SHORT, "stage=analyse", "executor=serial")
    assert efat(tmp_path, *arguments).returncode == 0
    first = (run_folder(tmp_path) / "curves.csv").read_bytes()
    victim = next((tmp_path / "outputs/store/analyse").glob("*.json"))
    victim.write_bytes(victim.read_bytes()[:-40])
    result = efat(tmp_path, *arguments, "name=again")
    assert "analyse 1" in result.stdout
    assert next(tmp_path.glob("outputs/again/*/curves.csv")).read_bytes() == first


def test_the_table_of_a_sweep_has_the_costs_and_results_of_its_jobs(done, tmp_path):
    job = tmp_path / "0"
    shutil.copytree(run_folder(done[0]), job)
    (job / ".hydra/overrides.yaml").write_text("[seed=0, planner=greedy]")
    ResultsTable().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    table = rows(tmp_path / "results.csv")
    summary = json.loads((job / "summary.json").read_text())
    assert [row["strategy"] for row in table] == [s["name"] for s in summary["strategies"]]
    steps = [str(s["retraining"]["steps"]) for s in summary["strategies"]]
    assert [row["retraining_steps"] for row in table] == steps
    assert {row["overrides"] for row in table} == {"seed=0 planner=greedy"}


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


def test_status_says_that_no_plan_keeps_the_rules(done):
    folder, _ = done
    result = efat(folder, *TINY, "rules.max_groups=1", "stage=status", "executor=serial")
    assert result.returncode == 1
    assert result.stderr.startswith("error: rules.max_groups: 1 given; no plan with so few ")


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


def test_help_and_cfg_run_nothing(tmp_path):
    bare = efat_process(tmp_path)
    assert bare.returncode == 0
    assert bare.stdout == efat(tmp_path, "+experiment=resnet_fat", "--help").stdout
    lines = bare.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) < 80  # a page, not the whole configuration
    listed = set(bare.stdout.split())
    assert {path.stem for path in CONF.rglob("*/[!_]*.yaml")} <= listed
    for name, words in STAGES.items():
        assert re.search(rf"^ +{name} +{re.escape(words)}$", bare.stdout, re.M)
        assert f"| `{name}` | {words} |" in (ROOT / "docs/configuration.md").read_text()
    assert "name: resnet_fat" in efat(tmp_path, "+experiment=resnet_fat", "--cfg=job").stdout
    assert not list(tmp_path.iterdir())


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
