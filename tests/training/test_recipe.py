"""Repair steps before retraining, as jobs."""

import copy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import get_args

import pytest
import torch

from efat import mask_model
from efat.campaign.results import Baseline, MeasuredGrams
from efat.data.digits import Digits
from efat.engine.store import Store, plain
from efat.models.resnet import ResNet
from efat.nn.repair import compensate, measure_grams, placement_of, recalibrate, remap, rescale
from efat.reporting.recipe_sentences import repair_sentences
from efat.reporting.terminal.stages import describe_recipe
from efat.training import repair_step
from efat.training.jobs import EvaluationJob, GramJob, RepairSpec, StopCriterion, TrainingJob
from efat.training.loading import calibration_batches
from efat.training.recipe import Recipe, Remap
from efat.training.trainer import evaluate, train
from tests.training.specs import ARRAY, FUSED, MEMBER, SETUP, mlp

START = ("pretrain", "base")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with a baseline and its Gram matrices."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.write(*START, train(TrainingJob(SETUP, 7, 150), store))
    store.write(
        "measure_grams", "grams", repair_step.measure_grams(GramJob(SETUP, START, 200, 3), store)
    )
    return store


def repair(*steps, mode="one_shot"):
    return RepairSpec(steps, mode, ("measure_grams", "grams"), 200, 3)


def job(steps, every=0, **changes):
    base = TrainingJob(SETUP, 1, steps, every, START, ARRAY, FUSED)
    return replace(base, repair=repair("remap", "compensate"), **changes)


def baseline(store):
    model = ResNet(8, 10, 1, 4)
    model.load_state_dict(store.weights(*START))
    return model.eval()


def test_amount_zero_is_the_network_that_the_library_repairs(store):
    inputs = list(calibration_batches(SETUP, 200, 3))
    assert [len(x) for x in inputs] == [32] * 6 + [8]
    model = baseline(store)
    grams = measure_grams(model, inputs)
    placement = remap(model, FUSED, ARRAY, grams)
    expected = compensate(model, FUSED, ARRAY, grams, placement=placement)
    result = train(job(0), store)
    assert result.values["repair_s"] > 0
    assert {n: s.columns.tolist() for n, s in placement_of(result.header).items()} == {
        n: s.columns.tolist() for n, s in placement.items()
    }
    for name, weight in expected.state_dict().items():
        assert torch.equal(result.weights[name], weight), name


def test_rows_are_placed_where_the_recipe_says_so(store):
    apply_repair = replace(job(0).repair, remap="rows_and_columns")
    assert "remap" in plain(apply_repair)
    assert "remap" not in plain(job(0).repair)  # keys from before
    result = train(replace(job(0), repair=apply_repair), store)
    store.write("retrain", "rows", result)
    read = placement_of(store.header("retrain", "rows"))
    assert all(slots.rows is not None for slots in placement_of(result.header).values())
    fused, member = (
        evaluate(EvaluationJob(SETUP, ("retrain", "rows"), ARRAY, (m,)), store).values["val"]
        for m in (FUSED, MEMBER)
    )
    assert fused == member
    model = baseline(store)
    model.load_state_dict(result.weights)
    before = copy.deepcopy(model.state_dict())
    mask_model(model, FUSED, ARRAY, placement=read)
    assert all(torch.equal(before[n], w) for n, w in model.state_dict().items())


def test_layers_in_blocks_are_repaired_and_named(store, monkeypatch):
    monkeypatch.setattr(
        "efat.training.repair_step.measure_model_grams", partial(measure_grams, largest=140)
    )
    result = repair_step.measure_grams(GramJob(SETUP, START, 200, 3), store)
    cut = {"layer3.0.conv2.weight": 2}
    assert result.values["blocks"] == cut
    store.write("measure_grams", "blocked", result)
    blocked = replace(repair("compensate"), grams=("measure_grams", "blocked"))
    both = (replace(job(0), repair=each) for each in (blocked, repair("compensate")))
    found, whole = (train(each, store).weights for each in both)
    assert {name for name in found if not torch.equal(found[name], whole[name])} == {
        "layer3.0.conv2.weight",
        "layer3.0.bn2.running_mean",
    }
    baseline = Baseline(START, 0.9, 1.0, MeasuredGrams(("measure_grams", "blocked"), 200, 1.0, cut))
    line = describe_recipe(SimpleNamespace(recipe=Recipe(("compensate",))), baseline)
    assert line.endswith("approximate, in blocks of inputs: layer3.0.conv2.weight in 2")
    assert "layer3.0.conv2.weight (2)" in repair_sentences(finished(["compensate"], blocks=cut))[1]


def finished(recipe, remap="columns", blocks=None):
    seconds = {"calibration_s": 1.0, "analysis_repair_s": 1.0}
    outcome = SimpleNamespace(recipe=recipe, mode="one_shot", remap=remap, blocks=blocks, **seconds)
    return SimpleNamespace(outcome=outcome, chosen=SimpleNamespace(repair_s=1.0), strategies=())


def test_the_report_names_the_hardware_that_rows_need():
    count = {remap: len(repair_sentences(finished(["remap"], remap))) for remap in get_args(Remap)}
    assert count == {"columns": 2, "rows_and_columns": 3}


def test_recalibration_follows_the_mask(store):
    masked = mask_model(baseline(store), FUSED, ARRAY)
    inputs = torch.cat(list(calibration_batches(SETUP, 200, 3)))
    expected = recalibrate(masked, inputs.split(128)).state_dict()
    result = train(replace(job(0), repair=repair("recalibrate")), store)
    assert result.header == {}
    assert all(torch.equal(result.weights[name], weight) for name, weight in expected.items())


def test_a_network_without_batch_norm_is_rescaled(tmp_path):
    setup, store = replace(SETUP, model=mlp(16)), Store(tmp_path)
    store.write(*START, train(TrainingJob(setup, 7, 60), store))
    model = setup.model()
    model.load_state_dict(store.weights(*START))
    masked = mask_model(copy.deepcopy(model).eval(), FUSED, ARRAY)
    inputs = torch.cat(list(calibration_batches(setup, 200, 3)))
    expected = rescale(model, masked, inputs).state_dict()
    apply_repair = RepairSpec(("recalibrate",), "one_shot", None, 200, 3)
    result = train(TrainingJob(setup, 1, 0, 0, START, ARRAY, FUSED, repair=apply_repair), store)
    assert all(torch.equal(result.weights[name], weight) for name, weight in expected.items())


def test_sequential_compensation_is_another_repair(store):
    one_shot, sequential = (
        train(replace(job(0, 1), repair=repair("compensate", mode=mode)), store).values["metric"]
        for mode in ("one_shot", "sequential")
    )
    masked = train(replace(job(0, 1), repair=None), store).values["metric"]
    assert masked < one_shot
    assert masked < sequential != one_shot


def test_the_prefix_rule_holds_after_a_repair(store):
    curve = train(job(6, 2), store).values
    assert curve["amount_steps"] == [0, 2, 4, 6]
    for amount, value in zip(curve["amount_steps"], curve["metric"], strict=True):
        store.write("retrain", str(amount), train(job(amount), store))
        found = evaluate(EvaluationJob(SETUP, ("retrain", str(amount)), ARRAY, (FUSED,)), store)
        assert found.values["val"] == [value]


def test_a_fused_maps_placement_serves_every_member_bit_for_bit(store):
    store.write("retrain", "group", train(job(5), store))
    weights, placement = (
        store.weights("retrain", "group"),
        placement_of(store.header("retrain", "group")),
    )
    data = Digits()
    data.setup("test")
    outputs = []
    for fault_map, where in ((FUSED, placement), (MEMBER, placement), (MEMBER, None)):
        model = ResNet(8, 10, 1, 4)
        model.load_state_dict(weights)
        mask_model(model.eval(), fault_map, ARRAY, placement=where)
        outputs.append(model(data.splits["test"][0]))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[1], outputs[2])  # without the placement other weights are lost
    both = EvaluationJob(SETUP, ("retrain", "group"), ARRAY, (FUSED, MEMBER))
    found = evaluate(both, store).values
    assert found["val"][0] == found["val"][1]
    hits = (outputs[0].argmax(1) == data.splits["test"][1]).float().mean()
    assert found["test"][1] == pytest.approx(float(hits))


def test_without_repair_keys_and_files_are_what_they_were(store):
    keyed = plain(TrainingJob(SETUP, 1, 2))
    assert "repair" not in keyed
    assert keyed["setup"]["finetune"] == {"frozen": [], "lr_factors": {}, "batch_norm": "train"}
    assert plain(job(2))["repair"]["grams"] == ["measure_grams", "grams"]
    assert placement_of(store.header(*START)) is None


def test_a_curve_that_ends_where_it_meets_the_constraint_says_the_same(store):
    whole_job = replace(job(8, 2), repair=None)
    whole = train(whole_job, store).values
    for limit, sustained in ((whole["metric"][0], 1), (whole["metric"][2], 1), (0.0, 3), (2.0, 1)):
        met = [value >= limit for value in whole["metric"]]
        length = met.index(True) + sustained if any(met) else len(met)
        until = StopCriterion(limit, sustained=sustained)
        short = train(replace(whole_job, until=until), store).values
        assert short["amount_steps"] == whole["amount_steps"][:length]
        assert short["metric"] == whole["metric"][:length]
