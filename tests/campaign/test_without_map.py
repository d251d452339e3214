"""Parts of `planner=early_stop` that need no campaign: plans, advice and words without a map."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from efat.campaign.results import TrainedModel
from efat.campaign.stages import plan as plan_fleet
from efat.errors import EfatError
from efat.planning import EarlyStopping, Fixed, NoRemap
from efat.planning.plan import Group, Plan
from efat.planning.planners.greedy import Greedy
from efat.reporting.advice import next_steps
from efat.reporting.run_folder import RunFolder
from efat.reporting.terminal.stages import describe_until_met
from efat.resilience.severity import array_rate
from tests.campaign.by_hand import experiment, group
from tests.reporting.run_folders import result


def test_the_terminal_tells_them_apart_too():
    models = (
        TrainedModel(group("a", amount=0), 20, ("retrain", "a"), 1.0, met=False, kept_steps=0),
        TrainedModel(group("b", amount=0), 40, ("retrain", "b"), 1.0, met=False),
    )
    said = describe_until_met(experiment(planner=EarlyStopping(), compare={}), models)
    assert "2 were trained" in said
    assert "fail at the end of the budget: b. Training diverged for a: the network" in said


def test_an_assignment_beyond_the_map_is_written_as_json(tmp_path):
    plan = SimpleNamespace(total_steps=math.inf)
    placed = SimpleNamespace(library=(), price=math.inf, unsalvageable=())
    rows = [{"chip_id": "a", "price": math.inf, "model_steps": math.inf}]
    arrival = SimpleNamespace(assignment=placed, plan=plan)
    RunFolder(tmp_path, None).write_assignment(tmp_path, arrival, rows)
    document = json.loads((tmp_path / "assignment.json").read_text())
    assert (document["price"], document["trained_steps"]) == (None, None)
    assert document["chips"] == [{"chip_id": "a", "price": None, "model_steps": None}]


def test_amounts_from_a_planner_without_the_map_are_refused():
    class Guess:
        needs_map = False

        def __call__(self, chips, cost, seed):
            return Plan(tuple(Group((c.chip_id,), c.fault_map, 5.0) for c in chips), ())

    with pytest.raises(EfatError, match=r"planner: guess says needs_map = False, but its plan has"):
        plan_fleet(experiment(planner=Guess(), compare={}), None, array_rate)
    assert plan_fleet(experiment(planner=EarlyStopping(), compare={"none": None}), None, array_rate)


@pytest.mark.parametrize(
    ("compared", "asks"),
    [(None, 0), (EarlyStopping(), 0), (NoRemap(), 0), (Fixed(), 1), (Greedy(), 1)],
)
def test_an_experiment_knows_whether_any_strategy_needs_the_map(compared, asks):
    assert experiment(planner=EarlyStopping(), compare={"other": compared}).needs_map is bool(asks)
    assert experiment(planner=Fixed(), compare={}).needs_map
    assert experiment(planner=object(), compare={}).needs_map  # a user's own says nothing of it


def test_the_advice_is_more_budget_not_topping_up():
    run = result()
    chip = replace(run.chips[0], pass_val=False, pass_test=False, group_size=1)
    outcome = replace(run.outcome, chips=(chip,), recipe=("compensate", "retrain"))
    run = replace(run, outcome=outcome)
    alone = replace(run, plan=replace(run.plan, until_met=True))
    advice = next_steps(alone)
    assert "a larger training.budget_epochs (of these failing on validation at its end: 1)" in (
        advice
    )
    assert "top_up" not in advice
    assert "top_up" in next_steps(run)
