"""Trainings that go on until their group meets the constraint, from the job to the report."""

import math
from dataclasses import replace

import pytest
import torch

from efat import EfatError
from efat.campaign.job_factory import group_job
from efat.campaign.stages import plan as plan_fleet
from efat.campaign.stages import retrain
from efat.campaign.tables import group_results
from efat.config.build import build_experiment
from efat.config.compose import compose_jobs
from efat.engine.store import Store
from efat.planning import EarlyStopping
from efat.planning.plan import Plan
from efat.reporting.terminal.stages import describe_top_up
from efat.resilience.resilience_map import ResilienceMap
from efat.resilience.severity import array_rate
from efat.training.callbacks import CheckMasksAndDivergence
from efat.training.checkpoints import Checkpointer, Checkpoints
from efat.training.finetune import DivergedError
from efat.training.jobs import StopCriterion, TrainingJob, trained_steps
from efat.training.recipe import Recipe
from efat.training.trainer import train
from tests.campaign.by_hand import BASELINE, FakeRunner, experiment, group
from tests.cli.cutting import CutError, cut_off
from tests.training.specs import ARRAY, FUSED, SETUP, sgd

NEVER = StopCriterion(2.0, from_steps=11)


def job(steps, every=0, until=None, **setup):
    setup = {"optimizer": sgd(0.1), **setup}
    return TrainingJob(replace(SETUP, **setup), 7, steps, every, None, ARRAY, FUSED, until=until)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def curve(store):
    """Every step of a training that is nowhere stopped, by amount."""
    values = train(job(17, 1), store).values
    return dict(zip(values["amount_steps"], values["metric"], strict=True))


def test_it_is_measured_at_the_amount_and_every_interval_after(store, curve):
    values = train(job(17, 2, NEVER), store).values
    assert values["amount_steps"] == [11, 13, 15, 17]
    assert values["metric"] == [curve[step] for step in (11, 13, 15, 17)]
    assert trained_steps(job(17, 2, NEVER), values) == 17


def test_it_ends_as_soon_as_the_constraint_is_met_with_the_weights_of_that_amount(store, curve):
    limit = curve[15]
    assert curve[11] < curve[13] < limit  # or the seed shows nothing
    for until, steps, end in (
        (StopCriterion(limit, from_steps=11), [11, 13, 15], 15),
        (StopCriterion(0.0, from_steps=11), [11], 11),
        (StopCriterion(0.0, sustained=2, from_steps=11), [11, 13], 13),
        (StopCriterion(0.0, from_steps=0), [0], 0),
    ):
        result = train(job(17, 2, until), store)
        assert result.values["amount_steps"] == steps
        plain = train(job(end), store)
        for name, weight in plain.weights.items():
            assert torch.equal(result.weights[name], weight), (end, name)


def test_accumulated_batches_are_measured_once_a_step(store):
    trainer = {"accelerator": "cpu", "accumulate_grad_batches": 3}
    until = replace(NEVER, from_steps=3)
    values = train(job(5, 2, until, trainer=trainer), store).values
    assert values["amount_steps"] == [3, 5]


def test_it_goes_on_where_it_was_cut_off(store, tmp_path):
    asked = job(17, 2, NEVER)
    expected = train(asked, store)
    checkpoints = Checkpoints(tmp_path, 2)
    for step in (8, 14):
        cut_off(asked, store, checkpoints, step)
    assert int(checkpoints.latest().name.split("-")[1]) > 11
    result = train(asked, store, checkpoints)
    assert result.values["metric"] == expected.values["metric"]
    for name, weight in expected.weights.items():
        assert torch.equal(result.weights[name], weight), name


@pytest.mark.parametrize("met_at", [11, 13])
def test_cut_off_where_it_stops_it_stops_there_again(store, curve, tmp_path, monkeypatch, met_at):
    asked = job(17, 2, StopCriterion(curve[met_at], from_steps=met_at))
    expected = train(asked, store)
    assert expected.values["amount_steps"] == [met_at]
    checkpoints, validated = Checkpoints(tmp_path, 1), Checkpointer.on_validation_end

    def die(self, trainer, module):
        validated(self, trainer, module)  # which may save
        if trainer.global_step == met_at:
            raise CutError

    monkeypatch.setattr(Checkpointer, "on_validation_end", die)
    with pytest.raises(CutError):
        train(asked, store, checkpoints)
    monkeypatch.undo()
    assert checkpoints.latest()
    result = train(asked, store, checkpoints)
    assert result.values["amount_steps"] == [met_at]
    assert all(torch.equal(result.weights[n], w) for n, w in expected.weights.items())


TOPPING = experiment(recipe=Recipe(("retrain", "top_up")))


def test_a_group_goes_on_from_its_amount_in_intervals_within_the_budget():
    asked = {
        a: group_job(TOPPING, BASELINE, group("a", amount=a), until_pass=True)
        for a in (0, 15, math.inf)
    }
    assert {a: (j.until.from_steps, j.amount_steps) for a, j in asked.items()} == {
        0: (0, 40), 15: (15, 35), math.inf: (40, 40),
    }  # fmt: skip
    for found in asked.values():
        assert (found.eval_every_steps, found.keep_weights) == (20, True)
        assert (found.until.limit, found.until.sustained) == (0.625, 1)
    plain = group_job(TOPPING, BASELINE, group("a", amount=15), until_pass=False)
    assert (plain.amount_steps, plain.eval_every_steps, plain.until) == (15, 0, None)


def test_room_is_left_for_all_evaluations_that_have_to_meet_it():
    here = replace(TOPPING, selection=replace(TOPPING.selection, sustained=2))
    found = group_job(here, BASELINE, group("a", amount=math.inf), until_pass=True)
    assert (found.until.from_steps, found.amount_steps, found.until.sustained) == (20, 40, 2)


class Recovering(FakeRunner):
    """Meets 0.625 after 35 steps; the map of five faults never does."""

    def trained(self, job):
        steps = list(range(job.until.from_steps, job.amount_steps + 1, 20))
        metric = [0.7 if s >= 35 and job.fault_map.fault_count < 5 else 0.1 for s in steps]
        end = next((i for i in range(len(steps)) if job.until.met(metric[: i + 1])), len(steps) - 1)
        return {
            "amount_steps": steps[: end + 1], "metric": metric[: end + 1], "elapsed_s": 1.0,
            "diverged_steps": None,
        }  # fmt: skip


def test_what_was_added_is_counted_and_who_is_short_is_known():
    groups = (group("a", "b", amount=20), group("c", amount=15), group("d", amount=40))
    models = retrain(TOPPING, Recovering(), BASELINE, {"greedy": Plan(groups, ())})["greedy"]
    found = [(m.trained_steps, m.topped_up_steps, m.evaluations, m.met) for m in models]
    assert found == [(40, 20, 2, False), (35, 20, 2, True), (40, 0, 1, True)]


def test_measuring_often_enough_is_no_topping_up():
    here = replace(TOPPING, selection=replace(TOPPING.selection, sustained=2))
    here = replace(here, amounts=replace(here.amounts, budget_steps=80))
    groups = (group("c", amount=40), group("d", amount=20))
    models = retrain(here, Recovering(), BASELINE, {"greedy": Plan(groups, ())})["greedy"]
    found = [(m.trained_steps, m.topped_up, m.topped_up_steps) for m in models]
    assert found == [(60, False, 0), (60, True, 40)]


def diverging_at(monkeypatch, step):
    """Let trainings diverge after so many optimizer steps."""
    guarded = CheckMasksAndDivergence.on_train_batch_end

    def guard(self, trainer, *rest):
        guarded(self, trainer, *rest)
        if trainer.global_step == step:
            raise DivergedError("training: diverged")

    monkeypatch.setattr(CheckMasksAndDivergence, "on_train_batch_end", guard)


@pytest.mark.parametrize("cut", [None, 12])
def test_one_that_diverges_keeps_the_model_of_its_planned_amount(store, tmp_path, monkeypatch, cut):
    asked, planned = job(17, 2, NEVER), train(job(11), store)
    checkpoints = Checkpoints(tmp_path, 2)
    if cut:
        cut_off(asked, store, checkpoints, cut)
        assert int(checkpoints.latest().name.split("-")[1]) >= 11
    diverging_at(monkeypatch, 14)
    result = train(asked, store, checkpoints)
    values = result.values
    assert (values["diverged_steps"], values["kept_steps"]) == (14, 11)
    assert values["amount_steps"] == [11, 13]
    assert all(torch.equal(result.weights[n], w) for n, w in planned.weights.items())


def test_one_that_diverges_before_its_planned_amount_has_no_model(store, monkeypatch):
    diverging_at(monkeypatch, 5)
    result = train(job(17, 2, NEVER), store)
    assert result.weights is None
    assert "kept_steps" not in result.values


class Diverging(FakeRunner):
    """Diverges an interval after the amount, which was short."""

    def trained(self, job):
        first = job.until.from_steps
        return {
            "amount_steps": [first], "metric": [0.1], "elapsed_s": 1.0,
            "diverged_steps": first + 5, "kept_steps": first,
        }  # fmt: skip


def test_its_cost_is_what_it_took_and_its_amount_is_that_of_the_model():
    plan = Plan((group("c", amount=15),), ())
    [model] = retrain(TOPPING, Diverging(), BASELINE, {"greedy": plan})["greedy"]
    assert (model.trained_steps, model.carried_steps, model.amount_steps) == (20, 15, 15)
    assert (model.diverged, model.met, model.topped_up) == (False, False, True)
    (row,) = group_results(plan, TOPPING.fleet.chips, lambda _: 15, (model,))
    assert (row.trained_steps, row.topped_up) == (15, True)
    said = describe_top_up(TOPPING, {"group000": model})
    assert "Training on diverged for group000: the model of the planned amount is kept" in said


def test_topping_up_needs_a_training_before_it():
    with pytest.raises(EfatError, match="top_up goes on with a training, so it needs retrain"):
        Recipe(("compensate", "top_up"))
    with pytest.raises(EfatError, match="each step once, in this order"):
        Recipe(("top_up", "retrain"))
    recipe = Recipe(("compensate", "retrain", "top_up"))
    assert (recipe.repairs, recipe.tops_up) == (("compensate",), True)


def test_early_stop_takes_every_chip_and_stops_as_the_constraint_says():
    compare = {"early_stop": EarlyStopping()}
    plan = plan_fleet(experiment(compare=compare), ResilienceMap(0.6, (0.1,), (20.0,)), array_rate)
    assert [g.members for g in plan["early_stop"].groups] == [("a",), ("b",), ("c",), ("d",)]
    assert plan["early_stop"].unsalvageable == ()
    assert len(plan["greedy"].unsalvageable) == 4  # faulty beyond the map
    campaign = Recovering()
    models = retrain(experiment(), campaign, BASELINE, plan)["early_stop"]
    assert [job.until.from_steps for job in campaign.asked[0][2]] == [0] * 4
    assert [(m.trained_steps, m.met) for m in models] == [(40, False), *[(40, True)] * 3]


def test_early_stop_without_retraining_looks_at_each_repaired_chip():
    here = experiment(recipe=Recipe(("compensate",)))
    here = replace(here, amounts=replace(here.amounts, budget_steps=0))
    asked = group_job(here, BASELINE, group("a", amount=0), until_pass=True)
    assert (asked.amount_steps, asked.first_evaluation) == (0, 0)
    assert asked.evaluates_at(0)
    (cfg,) = compose_jobs(["+experiment=resnet_fat", "recipe.steps=[compensate]", "fleet.chips=2"])
    assert build_experiment(cfg).compare["early_stop"] == EarlyStopping()
