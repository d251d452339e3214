"""Repair steps before retraining, from the job to the campaign's files."""

import copy
import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import hydra
import numpy as np
import pytest
import torch
from torch import nn

from efat import EfatError, FaultMap, SystolicArray, mask_model
from efat.chips import Chip
from efat.data.digits import Digits
from efat.fit import evaluate, train
from efat.fleets import load_fleet
from efat.jobs import CalibrationJob, EvaluationJob, Repair, Setup, TrainingJob, Until
from efat.loading import calibration_batches
from efat.mending import calibrate
from efat.models.resnet import ResNet
from efat.overrides import compose_jobs
from efat.pages.verdict import _recipe
from efat.planning.best import Best
from efat.planning.cost import CountCost
from efat.planning.rules import Rules
from efat.preflight import build_experiment
from efat.recipe import Recipe
from efat.recipe_checks import recipe_problems
from efat.repair import compensate, load_repaired, measure_grams, recalibrate, remap, rescale
from efat.store import Store, plain
from tests.command_line import efat

ARRAY = SystolicArray(8, 8)
RNG = np.random.default_rng(0)
FUSED = FaultMap(RNG.random((8, 8)) < 0.4)
MEMBER = FaultMap(FUSED.faulty & (RNG.random((8, 8)) < 0.5))
SETUP = Setup(
    {
        "_target_": "efat.models.resnet.ResNet",
        "depth": 8,
        "num_classes": 10,
        "in_channels": 1,
        "width": 4,
    },
    {"_target_": "efat.data.digits.Digits", "batch_size": 32},
    10,
    {"accelerator": "cpu"},
    {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.01, "momentum": 0.9},
)
START = ("pretrain", "base")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with a baseline and its Gram matrices."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.write(*START, train(TrainingJob(SETUP, 7, 150), store))
    store.write("calibrate", "grams", calibrate(CalibrationJob(SETUP, START, 200, 3), store))
    return store


def repair(*steps, mode="one_shot"):
    return Repair(steps, mode, ("calibrate", "grams"), 200, 3)


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
    assert {n: s.columns.tolist() for n, s in result.placement.items()} == {
        n: s.columns.tolist() for n, s in placement.items()
    }
    for name, weight in expected.state_dict().items():
        assert torch.equal(result.weights[name], weight), name


def test_rows_are_placed_where_the_recipe_says_so(store):
    mend = replace(job(0).repair, remap="rows_and_columns")
    assert "remap" in plain(mend)
    assert "remap" not in plain(job(0).repair)  # keys from before
    result = train(replace(job(0), repair=mend), store)
    store.write("retrain", "rows", result)
    read = store.placement("retrain", "rows")
    assert all(slots.rows is not None for slots in result.placement.values())
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


def test_the_report_says_what_rows_ask_of_the_hardware():
    summary = {"recipe": ["remap"], "calibration_s": 1.0, "analysis_repair_s": 1.0}
    told = {
        chosen: " ".join(
            _recipe(SimpleNamespace(summary=summary | {"remap": chosen}, chosen={"repair_s": 1.0}))
        )
        for chosen in ("columns", "rows_and_columns")
    }
    assert "streamed into the rows in an order of the model's own" in told["rows_and_columns"]
    assert "streamed" not in told["columns"]


def test_recalibration_follows_the_mask(store):
    masked = mask_model(baseline(store), FUSED, ARRAY)
    inputs = torch.cat(list(calibration_batches(SETUP, 200, 3)))
    expected = recalibrate(masked, inputs.split(128)).state_dict()
    result = train(replace(job(0), repair=repair("recalibrate")), store)
    assert result.placement is None
    assert all(torch.equal(result.weights[name], weight) for name, weight in expected.items())


def test_a_network_without_batch_norm_is_rescaled(tmp_path):
    network = {"_target_": "efat.models.mlp.MLP", "sizes": [64, 16, 10]}
    setup, store = replace(SETUP, model=network), Store(tmp_path)
    store.write(*START, train(TrainingJob(setup, 7, 60), store))
    model = hydra.utils.instantiate(network)
    model.load_state_dict(store.weights(*START))
    masked = mask_model(copy.deepcopy(model).eval(), FUSED, ARRAY)
    inputs = torch.cat(list(calibration_batches(setup, 200, 3)))
    expected = rescale(model, masked, inputs).state_dict()
    mend = Repair(("recalibrate",), "one_shot", None, 200, 3)
    result = train(TrainingJob(setup, 1, 0, 0, START, ARRAY, FUSED, repair=mend), store)
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
    weights, placement = store.weights("retrain", "group"), store.placement("retrain", "group")
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
    assert keyed["setup"]["recipe"] == {"frozen": [], "lr_factors": {}, "batch_norm": "train"}
    assert "retraining" not in keyed["setup"]
    assert plain(job(2))["repair"]["grams"] == ["calibrate", "grams"]
    assert store.placement(*START) is None


def test_every_problem_of_a_recipe_is_named():
    with pytest.raises(EfatError) as error:
        Recipe(("retrain", "polish"), "both", 0, remap="rows")
    assert error.value.problems == (
        "recipe.steps: 'polish' given; allowed: harden, remap, compensate, recalibrate, retrain, "
        "top_up",
        "recipe.mode: 'both' given; allowed: one_shot, sequential",
        "recipe.remap: 'rows' given; allowed: columns, rows_and_columns",
        "recipe.samples: 0 given; an int >= 1 is needed",
    )
    for steps in (("retrain", "remap"), ("compensate", "remap"), ("remap", "remap")):
        with pytest.raises(
            EfatError, match="each step once, in this order: harden, remap, compensate"
        ):
            Recipe(steps)
    with pytest.raises(EfatError, match="at least one of"):
        Recipe(())


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 10)

    def forward(self, x):
        return self.last(self.attention(x, x, x)[0].transpose(0, 1)).mean(0)


def problems(recipe, network, shape=(2, 3, 8), dataflow="ws"):
    return recipe_problems(recipe, network, torch.zeros(shape), dataflow, ())


def test_what_a_network_or_array_does_not_allow_is_refused():
    resnet, images = ResNet(8, 10, 1, 4), (2, 1, 8, 8)
    both = Recipe(("remap", "compensate", "retrain"))
    assert problems(both, resnet, images) == []
    (found,) = problems(both, resnet, images, "os")
    assert found.startswith("recipe.steps: remap, compensate given, but array.dataflow=os")
    assert problems(Recipe(("recalibrate",)), resnet, images, "os") == []
    rescaled = Recipe(("recalibrate",))
    assert problems(rescaled, nn.Linear(8, 2)) == []
    (found,) = problems(rescaled, nn.Linear(8, 2), dataflow="os")
    assert found.startswith("recipe.steps: recalibrate given, but array.dataflow=os")
    attention, _ = problems(rescaled, Attentive())
    assert "recalibrate given without BatchNorm, but layer 'attention' is an attention" in attention
    assert problems(both, Attentive()) == []
    attention, turned = problems(Recipe(("compensate",), "sequential"), Attentive())
    assert "layer 'attention' is an attention; use steps=[compensate], mode=one_shot" in attention
    assert "layer 'last' sees 3 rows for 2 samples: not batch first" in turned
    tied = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    tied[1].weight = tied[0].weight
    (found,) = problems(both, tied)
    assert "are one weight; untie them" in found


def test_the_command_line_refuses_before_any_work(tmp_path):
    ran = efat(
        tmp_path, "+experiment=resnet_fat", "recipe.steps=[remap,retrain]", "array.dataflow=is"
    )
    assert ran.returncode == 2
    assert "recipe.steps: remap given, but array.dataflow=is keeps no weight" in ran.stderr
    assert not list(tmp_path.iterdir())


def test_a_recipe_without_retraining_has_no_budget():
    (cfg,) = compose_jobs(["model=mlp", "fleet.chips=3", "recipe.steps=[compensate]"])
    assert build_experiment(cfg).amounts.budget_steps == 0


def test_where_retraining_costs_nothing_a_model_does():
    maps = [np.zeros((4, 8), bool) for _ in range(12)]
    for place, grid in enumerate(maps):
        grid.flat[2 * place : 2 * place + 2] = True
    chips = [Chip(f"c{i:02d}", FaultMap(grid)) for i, grid in enumerate(maps)]
    cost = CountCost.of(lambda rate: 0.0 if rate <= 0.25 else math.inf, 4, 8)
    free, priced = (Best(rules=Rules(price_group=p))(chips, cost, 0) for p in (0.0, 1.0))
    assert (len(free.groups), free.total_steps) == (12, 0)
    assert [len(g.members) for g in priced.groups] == [4, 4, 4]  # 8 faults of 32 are a quarter
    assert (priced.total_steps, priced.price, priced.gap) == (0, 3, pytest.approx(0))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny campaign whose chips are repaired: its home, and its folder."""
    home = tmp_path_factory.mktemp("campaign")
    ran = efat(home, *TINY)
    assert ran.returncode == 0, ran.stderr
    (folder,) = home.glob("outputs/resnet_fat/*")
    return home, folder, ran


TINY = (
    "+experiment=resnet_fat", "recipe=remap_compensate", "rules=few_models", "executor=serial",
    "model.width=8", "baseline.epochs=6", "fault_rates.rates=[0.1,0.3]",
    "fault_rates.maps_per_rate=1", "training.budget_epochs=0.25", "fleet.chips=5",
    "fleet.fault_rate=[0.02,0.08]", "selection.max_drop=0.05", "compare=[none,individual]",
    "training.eval_every_epochs=0.125", "recipe.samples=300",
)  # fmt: skip


def rows_of(path):
    return list(csv.DictReader(path.open(newline="")))


def test_a_campaign_deploys_repaired_models_with_their_placement(run):
    _, folder, ran = run
    summary = json.loads((folder / "summary.json").read_text())
    chosen, none, individual = summary["strategies"]
    assert chosen["models"] < individual["models"] == 5
    assert chosen["retraining"]["steps"] == 0 == individual["retraining"]["steps"]
    assert chosen["repair_s"] > 0 == none["repair_s"]
    assert summary["calibration_s"] > 0 < summary["analysis_repair_s"]
    assert (
        "recipe     remap (columns), compensate (one_shot), retrain; Gram matrices of 300"
        in ran.stdout
    )
    page = (folder / "report.md").read_text()
    assert "models and no retraining." in page or "1 model and no retraining." in page
    assert "address generation only" in page
    data = Digits()
    data.setup("test")
    x, y = data.splits["test"]
    maps = {chip.chip_id: chip.fault_map for chip in load_fleet(folder / "fleet.npz")}
    for row in rows_of(folder / "chips.csv"):
        state, placement = load_repaired(folder / "models" / f"{row['group']}.safetensors")
        model = ResNet(8, 10, 1, 8)
        model.load_state_dict(state)
        own = mask_model(copy.deepcopy(model).eval(), maps[row["chip_id"]], SystolicArray(16, 16),
                         placement=placement)  # fmt: skip
        assert placement
        hits = (own(x).argmax(1) == y).float().mean()
        assert float(row["test_after"]) == pytest.approx(float(hits))


def test_pruned_shares_are_those_of_the_placed_weights(run):
    _, folder, _ = run
    state, _ = load_repaired(folder / "models" / "group000.safetensors")
    zeros = {n: float((w == 0).float().mean()) for n, w in state.items()}
    shares = {row["layer"]: row for row in rows_of(folder / "layers.csv")}
    groups = json.loads((folder / "plan.json").read_text())["groups"]
    assert zeros.keys() >= shares.keys()
    for name, row in shares.items():
        if len(groups) == 1:
            assert float(row["models_mean"]) == pytest.approx(zeros[name])
        assert float(row["models_min"]) <= zeros[name] + 1e-6
        assert zeros[name] <= float(row["models_max"]) + 1e-6


def test_what_is_done_is_found_again_and_new_chips_take_repaired_models(run, tmp_path):
    home, folder, _ = run
    status = efat(home, *TINY, "stage=status")
    assert "calibrate" in status.stdout
    assert "missing" in status.stdout
    assert all(line.split()[3] == "0" for line in status.stdout.splitlines()[2:])
    again = efat(home, *TINY, "stage=assign", f"library={folder}", "fleet.chips=5")
    assert again.returncode == 0, again.stderr
    (assigned,) = home.glob("outputs/resnet_fat/*/assignment.csv")
    before = {row["chip_id"]: row for row in rows_of(folder / "chips.csv")}
    for row in rows_of(assigned):
        assert row["action"] == "covered"
        assert row["test_after"] == before[row["chip_id"]]["test_after"]
    other = efat(home, *TINY, "recipe.mode=sequential", "stage=assign", f"library={folder}")
    assert other.returncode == 2
    assert "recipe.mode: sequential here, one_shot there" in other.stderr


def test_a_curve_that_ends_where_it_meets_the_constraint_says_the_same(store):
    whole_job = replace(job(8, 2), repair=None)
    whole = train(whole_job, store).values
    for limit, sustained in ((whole["metric"][0], 1), (whole["metric"][2], 1), (0.0, 3), (2.0, 1)):
        met = [value >= limit for value in whole["metric"]]
        length = met.index(True) + sustained if any(met) else len(met)
        until = Until(limit, sustained=sustained)
        short = train(replace(whole_job, until=until), store).values
        assert short["amount_steps"] == whole["amount_steps"][:length]
        assert short["metric"] == whole["metric"][:length]


def test_the_map_is_the_same_for_less(tmp_path):
    fast = (*TINY, "stage=analyse", "fault_rates.maps_per_rate=1")
    assert efat(tmp_path, *fast).returncode == 0
    assert efat(tmp_path, *fast, "name=until", "fault_rates.until_met=true").returncode == 0
    (whole,) = tmp_path.glob("outputs/resnet_fat/*")
    (until,) = tmp_path.glob("outputs/until/*")
    maps = [(folder / "resilience_map.json").read_text() for folder in (whole, until)]
    assert maps[0] == maps[1]
    assert len(rows_of(until / "curves.csv")) < len(rows_of(whole / "curves.csv"))
