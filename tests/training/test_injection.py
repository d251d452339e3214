"""Faults that come into a training part by part."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from efat import EfatError, FaultMap, mask_model
from efat.campaign.job_factory import retraining_job
from efat.config.build import build_experiment
from efat.config.compose import compose_jobs
from efat.engine.store import Store, plain
from efat.hardware.mapping import SystolicArray
from efat.models.resnet import ResNet
from efat.nn.masking import masked_weights
from efat.seeds import derive
from efat.training.callbacks import CheckMasksAndDivergence
from efat.training.checkpoints import Checkpoints
from efat.training.injection import Injection
from efat.training.jobs import EvaluationJob, StopCriterion, TrainingJob
from efat.training.recipe import Gradual, Recipe
from efat.training.trainer import evaluate, train
from tests.campaign.by_hand import BASELINE, CHIPS, experiment
from tests.cli.cutting import cut_off
from tests.training.specs import ARRAY, FUSED, SETUP, sgd

PARTS = Injection(3, 4, seed=5)
JOB = TrainingJob(replace(SETUP, optimizer=sgd(0.1)), 7, 14, 0, None, ARRAY, FUSED, injection=PARTS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def zeros(fault_map):
    """Where the network is pruned under a map, by weight."""
    model = mask_model(ResNet(8, 10, 1, 4), fault_map, ARRAY)
    return {name: weight.mask == 0 for name, weight in masked_weights(model).items()}


def test_parts_are_of_one_size_nested_and_the_whole_in_the_end():
    counts = [PARTS.fault_map(FUSED, k).fault_count for k in (1, 2, 3)]
    assert counts == [-(-FUSED.fault_count * k // 3) for k in (1, 2, 3)]
    maps = [PARTS.fault_map(FUSED, k) for k in (1, 2, 3)]
    assert maps[2] == FUSED
    assert maps[1].covers(maps[0])
    assert maps[0] != replace(PARTS, seed=6).fault_map(FUSED, 1)
    nothing = FaultMap(np.zeros((8, 8), bool))
    assert PARTS.fault_map(nothing, 2) == nothing


def test_what_is_injected_so_far_is_exactly_zero_momentum_too(store, monkeypatch):
    seen = []

    def look(self, trainer, module, *_):
        step = trainer.global_step - 1
        pruned = zeros(PARTS.fault_map(FUSED, PARTS.injected(step)))
        whole = zeros(FUSED)
        (optimizer,) = trainer.optimizers
        for name, parameter in module.model.named_parameters():
            if name in pruned:
                momentum = optimizer.state[parameter]["momentum_buffer"]
                assert not parameter[pruned[name]].any()
                assert not momentum[pruned[name]].any()
        later = [bool(module.model.get_parameter(n)[whole[n] & ~pruned[n]].any()) for n in whole]
        seen.append(any(later))

    monkeypatch.setattr(CheckMasksAndDivergence, "on_train_batch_end", look)
    result = train(replace(JOB, eval_every_steps=7), store)
    assert seen == [True] * 8 + [False] * 6  # not yet injected: still at work
    for name, pruned in zeros(FUSED).items():
        assert not result.weights[name][pruned].any()


def test_a_training_shorter_than_the_schedule_ends_under_the_whole_map(store):
    for steps in (0, 2):
        weights = train(replace(JOB, amount_steps=steps), store).weights
        for name, pruned in zeros(FUSED).items():
            assert not weights[name][pruned].any()
            assert weights[name][~pruned].all()


def test_a_curve_may_be_read_at_any_amount(store):
    curve = train(replace(JOB, amount_steps=12, eval_every_steps=3), store).values
    at_once = train(replace(JOB, amount_steps=12, eval_every_steps=3, injection=None), store)
    assert curve["amount_steps"] == [0, 3, 6, 9, 12]
    assert curve["metric"][0] == at_once.values["metric"][0]
    assert curve["metric"] != at_once.values["metric"]
    for amount, value in zip(curve["amount_steps"], curve["metric"], strict=True):
        store.write("retrain", str(amount), train(replace(JOB, amount_steps=amount), store))
        asked = EvaluationJob(JOB.setup, ("retrain", str(amount)), ARRAY, (FUSED,))
        assert evaluate(asked, store).values["val"] == [value]


def test_it_goes_on_where_it_was_cut_off_and_ends_where_it_meets_the_constraint(store, tmp_path):
    asked = replace(JOB, eval_every_steps=2, until=StopCriterion(2.0, from_steps=3))
    expected, checkpoints = train(asked, store), Checkpoints(tmp_path, 2)
    assert expected.values["amount_steps"] == [3, 5, 7, 9, 11, 13]
    for step in (6, 9):
        cut_off(asked, store, checkpoints, step)
    result = train(asked, store, checkpoints)
    assert result.values["metric"] == expected.values["metric"]
    for name, weight in expected.weights.items():
        assert torch.equal(result.weights[name], weight), name


def test_arrays_that_prune_outputs_inject_too(store):
    array = SystolicArray(8, 8, dataflow="os")
    jobs = [replace(JOB, array=array, injection=how, amount_steps=6) for how in (PARTS, None)]
    gradual, at_once = (train(asked, store).weights for asked in jobs)
    assert any(not torch.equal(gradual[name], weight) for name, weight in at_once.items())


def test_the_recipe_says_how_and_the_budget_plays_no_part():
    here = experiment(recipe=Recipe(gradual=Gradual(4, 0.5)))
    chip = CHIPS[0].fault_map
    asked = [retraining_job(here, BASELINE, chip, amount).injection for amount in (1, 40)]
    assert asked == [Injection(4, 5, derive(5, "inject", chip.key))] * 2
    assert "injection" not in plain(retraining_job(experiment(), BASELINE, chip, 1))
    words = ["model=mlp", "recipe.inject=gradual", "recipe.inject_parts=3"]
    (cfg,) = compose_jobs(words)
    assert build_experiment(cfg).recipe.gradual == Gradual(3, 0.25)


def test_what_cannot_be_injected_is_refused():
    with pytest.raises(EfatError, match="only retraining that no repair comes before has faults"):
        Recipe(("compensate", "retrain"), gradual=Gradual())
    with pytest.raises(EfatError) as error:
        Gradual(1, 0.0)
    assert error.value.problems == (
        "recipe.inject_parts: 1 given; an int >= 2 is needed",
        "recipe.inject_every_epochs: 0.0 given; a number > 0 is needed",
    )
    with pytest.raises(EfatError, match=r"inject: 'slowly' given; allowed: at_once, gradual"):
        Gradual.of("slowly", 4, 0.25)
    with pytest.raises(EfatError, match=r"inject_parts: 0 given; an int >= 2 is needed"):
        Gradual.of("at_once", 0, 0.25)  # used or not
