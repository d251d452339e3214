"""What each stage asks of the campaign and makes of the answers; almost nothing is trained."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from efat import keep_masked, mask_model, verify_masks
from efat.campaign import stages
from efat.campaign.analysis import CurveReader, analyse
from efat.campaign.experiment import Selection
from efat.campaign.results import TrainedModel
from efat.config.build import build_experiment
from efat.config.compose import compose_jobs
from efat.engine.store import Result, Store, content_key
from efat.nn.saliency import magnitude_saliency, taylor_saliency
from efat.planning import Random
from efat.planning.plan import Plan
from efat.resilience.constraint import Constraint
from efat.resilience.resilience_map import ResilienceCurve, ResilienceMap
from efat.resilience.severity import array_rate, saliency_rate
from efat.seeds import derive
from efat.training import trainer
from efat.training.loading import training_batches
from tests.campaign.by_hand import (
    ARRAY,
    BASELINE,
    CHIPS,
    NETWORK,
    SETUP,
    FakeRunner,
    accuracy,
    experiment,
    group,
)


def test_random_is_compared_at_the_sizes_of_the_chosen_plan():
    resilience_map = ResilienceMap(0.6, (0.5,), (80.0,))
    compare = {"none": None, "random": Random([1])}
    plans = stages.plan(experiment(compare=compare), resilience_map, array_rate)
    assert list(plans) == ["greedy", "none", "random"]
    sizes = {name: sorted(len(g.members) for g in plan.groups) for name, plan in plans.items()}
    assert sizes == {"greedy": [1, 3], "none": [], "random": [1, 3]}


def test_every_chip_is_measured_with_its_own_map_before_and_after():
    one, two = ("retrain", "one"), ("retrain", "two")
    models = {
        "greedy": (
            TrainedModel(group("a", "b"), 20, one, 1.0),
            TrainedModel(group("c"), 20, two, 1.0),
        ),
        "none": (),
    }
    campaign = FakeRunner()
    found = stages.evaluate(experiment(), campaign, BASELINE, models)
    [(stage, function, jobs)] = campaign.asked
    a, b, c, d = (chip.fault_map for chip in CHIPS)
    assert (stage, function) == ("evaluate", trainer.evaluate)
    assert [job.start for job in jobs] == [BASELINE.weights, one, two]
    assert [job.fault_maps for job in jobs] == [(None, a, b, c, d), (a, b), (c,)]
    for job in jobs:
        assert job.array == ARRAY
        assert job.setup.off_array == ("layers.1",)
    before = {chip.chip_id: accuracy(BASELINE.weights, chip.fault_map) for chip in CHIPS}
    assert found.test_samples == 64
    assert found.baseline == accuracy(BASELINE.weights, None)
    assert found.before == before
    after = {"a": accuracy(one, a), "b": accuracy(one, b), "c": accuracy(two, c), "d": before["d"]}
    assert found.after == {"greedy": after, "none": before}


def test_the_seed_of_a_retraining_hangs_on_its_map():
    campaign = FakeRunner()
    analyse(experiment(), campaign, BASELINE, array_rate)
    plans = {"greedy": Plan((group("a", "b"), group("d", amount=math.inf)), ())}
    models = stages.retrain(experiment(), campaign, BASELINE, plans)["greedy"]
    analysed, retrained = (jobs for _, _, jobs in campaign.asked)
    for job in analysed + retrained:
        assert job.seed == derive(5, "retrain", job.fault_map.key)
        assert job.start == BASELINE.weights
    assert len({job.seed for job in analysed + retrained}) == 8
    assert [job.fault_map for job in retrained] == [g.fused for g in plans["greedy"].groups]
    assert [job.amount_steps for job in retrained] == [20, 40]  # the budget in place of inf
    assert [model.trained_steps for model in models] == [20, 40]


def test_a_selection_reaches_the_resilience_map():
    steps = (0, 2, 4, 8)
    curves = tuple(
        ResilienceCurve(0.5, i, 0.5, steps, tuple(0.9 if s >= met else 0.1 for s in steps))
        for i, met in enumerate((2, 4, 8))
    )
    found = {
        (stat, quantile, how): CurveReader(
            experiment(selection=Selection(Constraint(max_drop=0.25), stat, quantile, how)),
            array_rate,
            0.6,
        ).resilience_map(curves)
        for stat, quantile in (("max", 0.5), ("quantile", 0.5), ("quantile", 0.0))
        for how in ("linear", "ceil")
    }
    assert {key: (m.amount(0.25), m.amount(0.5)) for key, m in found.items()} == {
        ("max", 0.5, "linear"): (4, 8),
        ("max", 0.5, "ceil"): (8, 8),
        ("quantile", 0.5, "linear"): (2, 4),
        ("quantile", 0.5, "ceil"): (4, 4),
        ("quantile", 0.0, "linear"): (1, 2),
        ("quantile", 0.0, "ceil"): (2, 2),
    }


def test_how_amounts_are_made_monotone_reaches_the_resilience_map():
    curves = tuple(
        ResilienceCurve(rate, 0, rate, (0, 4, 8), tuple(float(s >= met) for s in (0, 4, 8)))
        for rate, met in ((0.25, 8), (0.5, 4))
    )
    selection = Selection(Constraint(max_drop=0.25), "mean", 0.9, "ceil", monotone="isotonic")
    here = experiment(selection=selection, maps_per_rate=1)
    found = CurveReader(here, array_rate, 0.6).resilience_map(curves)
    assert found.amounts_steps == (6, 6)


def test_each_saliency_measure_is_its_own(tmp_path):
    torch.manual_seed(0)
    model, store, here = NETWORK(), Store(tmp_path), experiment()
    store.write(*BASELINE.weights, Result({}, model.state_dict()))
    batches = training_batches(SETUP, derive(here.seed, "saliency"))
    expected = {
        "magnitude_rate": magnitude_saliency(model, SETUP.off_array),
        "taylor_rate": taylor_saliency(model, batches, off_array=SETUP.off_array),
    }
    rates = {}
    for name, saliency in expected.items():
        bound = stages.severity_measure(replace(here, severity_name=name), store, BASELINE)
        rates[name] = [bound(chip.fault_map) for chip in CHIPS]
        measure = saliency_rate(saliency, ARRAY)
        assert rates[name] == pytest.approx([measure(chip.fault_map) for chip in CHIPS], rel=1e-6)
    assert rates["taylor_rate"] != pytest.approx(rates["magnitude_rate"], rel=0.01)


def test_the_fleet_is_drawn_with_the_configured_seed():
    def drawn(seed):
        (cfg,) = compose_jobs(["model=mlp", "fleet.chips=3", f"seed={seed}"])
        return [chip.fault_map for chip in build_experiment(cfg).fleet]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_key_depends_on_the_torch_version(monkeypatch):
    key = content_key("s", {"x": 1})
    monkeypatch.setattr(torch, "__version__", "0.0.1")
    assert content_key("s", {"x": 1}) != key


@pytest.mark.parametrize(
    "build",
    [partial(torch.optim.SGD, lr=0.1, momentum=0.9), partial(torch.optim.AdamW, lr=0.01)],
    ids=["sgd", "adamw"],
)
def test_momentum_from_before_the_mask_moves_no_pruned_weight(build):
    torch.manual_seed(0)
    model = nn.Linear(8, 8)
    optimizer, inputs = build(model.parameters()), torch.randn(16, 8)

    def step():
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()

    for _ in range(3):
        step()
    mask_model(model, CHIPS[0].fault_map, ARRAY)
    pruned = model.weight.detach() == 0
    state = optimizer.state[model.weight]
    momentum = state.get("momentum_buffer", state.get("exp_avg"))
    assert pruned.any()
    assert (momentum[pruned] != 0).all()
    keep_masked(model, optimizer)
    for _ in range(3):
        step()
        assert (model.weight[pruned] == 0).all()
    verify_masks(model)
