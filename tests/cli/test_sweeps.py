"""Several jobs in one command, and one campaign in several."""

import json

import pytest

from tests.cli.command_line import SHORT, TINY, efat, errors, rows


def test_stages_one_by_one_reuse_what_is_saved(tmp_path):
    expected = {
        "pretrain": "pretrain 1",
        "analyse": "pretrain 0, analyse 3",
        "plan": "pretrain 0, analyse 0",
        "retrain": "pretrain 0, analyse 0, retrain",
        "evaluate": "pretrain 0, analyse 0, retrain 0, evaluate",
    }
    for stage, units in expected.items():
        result = efat(
            tmp_path, *SHORT, f"stage={stage}", "executor=serial", "compare=[]", f"name={stage}"
        )
        assert result.returncode == 0, result.stderr
        assert units in result.stdout, result.stdout


def test_a_sweep_runs_every_job(tmp_path):
    result = efat(
        tmp_path, "-m", *SHORT, "stage=plan", "planner=greedy,individual", "array=ws_8,ws_16",
        "executor=serial",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    plans = sorted(tmp_path.glob("outputs/*/sweep_*/*/plan.json"))
    assert [json.loads(p.read_text())["planner"] for p in plans] == [
        "greedy", "greedy", "individual", "individual",
    ]  # fmt: skip
    assert result.stdout.count("pretrain 1") == 1  # one baseline for all of them
    assert result.stdout.count("analyse 3") == 2  # one analysis an array
    (table,) = tmp_path.glob("outputs/*/sweep_*/results.csv")
    assert [row["job"] for row in rows(table)] == ["0", "1", "2", "3"]
    assert "planner=individual array=ws_8" in rows(table)[2]["overrides"]
    assert str(table.relative_to(tmp_path)) in result.stdout


def test_a_failing_job_of_a_sweep_is_in_its_table_whoever_launched_it(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    result = efat(
        tmp_path, "-m", *SHORT, "stage=pretrain", "executor=serial", "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2", "selection.max_drop=null", "selection.limit=0.1,0.9999",
    )  # fmt: skip
    (table,) = tmp_path.glob("outputs/*/sweep_*/results.csv")
    assert [row["exit_code"] for row in rows(table)] == ["0", "1"]
    assert "selection.limit" in rows(table)[1]["problem"]
    assert result.returncode == 1


def test_a_sweep_cannot_mix_work_with_its_state(tmp_path):
    result = efat(tmp_path, "-m", *TINY, "stage=status,pretrain")
    assert result.returncode == 2
    assert "stage: pretrain, status given; status cannot share a sweep" in result.stderr
    assert not list(tmp_path.iterdir())


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
    assert planner.startswith("planner: nosuch given; allowed: early_stop, ")
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
