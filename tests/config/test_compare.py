"""`compare=` names options of the group `planner`, a user's own too; baselines skip the rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from efat.config.build import build_experiment
from efat.config.compose import compose_jobs, compose_sweep
from efat.errors import EfatError
from efat.planning import EarlyStopping, Exact, Greedy, NoRemap, Rules

RULES = Rules(max_members=9, price_group=2.0)
WORDS = ["+experiment=resnet_fat", "rules.max_members=9", "rules.price_group=2", "fleet.chips=12"]
FAST = [
    "+experiment=resnet_fat", "executor=serial", "model.width=4", "fleet.chips=4",
    "baseline.epochs=1", "training.budget_epochs=1", "training.eval_every_epochs=0.5",
    "fault_rates.rates=[0.3]", "fault_rates.maps_per_rate=1", "selection.max_drop=0.9",
]  # fmt: skip
PLANNER = """
from dataclasses import dataclass
from efat.planning import Grouping, GroupingPlanner

@dataclass(frozen=True)
class InPairs(GroupingPlanner):
    description = "neighbours by name, so many together"
    size: int = 2

    def group(self, problem, seed):
        chips = range(len(problem))
        return Grouping(tuple(tuple(chips[i : i + self.size]) for i in chips[:: self.size]))
"""


@pytest.fixture
def own_planner(tmp_path, monkeypatch):
    """A folder with a user's planner: one class, and two options of it, one on top of the other."""
    (tmp_path / "planner").mkdir()
    (tmp_path / "users_own.py").write_text(PLANNER)
    option = "_target_: users_own.InPairs\nrules: ${rules}\n"
    (tmp_path / "planner/in_pairs.yaml").write_text(option)
    (tmp_path / "planner/in_threes.yaml").write_text("defaults: [in_pairs, _self_]\nsize: 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def compared(*words):
    (cfg,) = compose_jobs([*WORDS, *words])
    return build_experiment(cfg).compare


def test_baselines_plan_without_the_rules_and_others_with_them() -> None:
    here = compared("compare=[none,greedy,exact,fixed,early_stop,no_remap]")
    assert here["none"] is None
    assert here["greedy"] == Greedy(rules=RULES)
    assert here["exact"] == Exact(rules=RULES)
    assert here["fixed"].rules == Rules()
    assert (here["early_stop"], here["no_remap"]) == (EarlyStopping(), NoRemap())


def test_every_option_says_what_it_does() -> None:
    names = [path.stem for path in Path("conf/planner").glob("*.yaml")]
    assert all(each.description for each in compared(f"compare=[{','.join(names)}]").values())


def test_what_cannot_plan_the_fleet_is_refused() -> None:
    with pytest.raises(EfatError, match=r"^compare: exact was given 40 chips .*; at most 20"):
        compared("fleet.chips=40", "compare=[exact]")


def test_an_unknown_name_comes_with_those_that_are_allowed(own_planner) -> None:
    (job,) = compose_sweep(["--config-dir", str(own_planner), *WORDS, "compare=[none,gredy]"])
    with pytest.raises(EfatError) as caught:
        build_experiment(job.cfg, job.problems, job.invalid_keys)
    (problem,) = caught.value.problems
    assert problem.startswith("compare: 'gredy' given; allowed: none, early_stop, ")
    assert "in_pairs" in problem


def test_a_users_own_planner_is_chosen_and_compared_with(own_planner) -> None:
    import users_own

    words = ["--config-dir", str(own_planner), *WORDS, "planner=in_pairs"]
    (cfg,) = compose_jobs([*words, "compare=[in_threes,random]"])
    here = build_experiment(cfg)
    assert here.planner == users_own.InPairs(rules=RULES)
    assert here.compare["in_threes"] == users_own.InPairs(rules=RULES, size=3)


@pytest.mark.slow
def test_it_appears_in_the_tables_of_every_job_of_a_sweep(own_planner) -> None:
    command = [sys.executable, "-m", "efat.run", "--config-dir", str(own_planner), "-m", *FAST]
    command += ["planner=in_pairs", "compare=[none,in_threes,random]", "seed=0,1"]
    paths = os.pathsep.join([str(own_planner), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=own_planner, env=os.environ | {"PYTHONPATH": paths},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summaries = sorted(own_planner.glob("outputs/**/summary.json"))
    assert len(summaries) == 2
    for path in summaries:
        strategies = json.loads(path.read_text())["strategies"]
        models = {each["name"]: each["models"] for each in strategies}
        assert models == {"in_pairs": 2, "none": 0, "in_threes": 2, "random": 2}
        page = (path.parent / "report.html").read_text()
        assert "in_threes: neighbours by name, so many together" in page
        assert "in_threes" in (path.parent / "report.md").read_text()
