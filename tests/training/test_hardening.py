"""Training the network itself to stand faults, once, before everything."""

import csv
import json
from dataclasses import replace

import pytest
import torch

from efat import EfatError, mask_model
from efat.campaign import State, stages
from efat.campaign.job_factory import group_job, retraining_job
from efat.campaign.results import Evaluation, Hardened, Measured
from efat.config.build import build_experiment
from efat.config.compose import compose_jobs
from efat.config.validate_recipe import recipe_problems
from efat.engine.store import Result, Store
from efat.models.mlp import MLP
from efat.models.resnet import ResNet
from efat.nn.masking import masked_weights
from efat.training import Factory, trainer
from efat.training.checkpoints import Checkpointer, Checkpoints
from efat.training.hardening import step_map
from efat.training.jobs import TrainingJob
from efat.training.recipe import Recipe
from tests.campaign.by_hand import BASELINE, CHIPS, FakeRunner, experiment, group
from tests.cli.command_line import efat
from tests.training.specs import ARRAY, SETUP, mlp, sgd, spec

PLAIN = spec(model=mlp(16), optimizer=sgd(0.1, 0))
START = ("pretrain", "start")
JOB = TrainingJob(PLAIN, 7, 1, 0, START, ARRAY, hardening=(0.2, 0.4))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    torch.manual_seed(0)
    store.write(*START, Result({}, MLP([64, 16, 10]).state_dict()))
    store.write("pretrain", "resnet", Result({}, ResNet(8, 10, 1, 4).state_dict()))
    return store


def test_every_step_has_a_map_of_its_own_within_the_rates():
    maps = [step_map(JOB, ARRAY, step) for step in range(40)]
    rates = [fault_map.fault_rate for fault_map in maps]
    assert len(set(maps)) == 40
    assert 0.2 <= min(rates) < 0.25
    assert 0.35 < max(rates) <= 0.4 + 1 / 128
    assert maps[3] == step_map(replace(JOB, amount_steps=99), ARRAY, 3)
    assert maps[3] != step_map(replace(JOB, seed=8), ARRAY, 3)


def test_weights_on_faulty_pes_keep_their_values_and_the_others_learn(store):
    before, after = store.weights(*START), trainer.train(JOB, store).weights
    pruned = masked_weights(mask_model(MLP([64, 16, 10]), step_map(JOB, ARRAY, 0), ARRAY))
    assert len(pruned) == 2
    for name, weight in pruned.items():
        moved = before[name] != after[name]
        assert not moved[weight.mask == 0].any()
        assert moved[weight.mask == 1].float().mean() > 0.5
        assert after[name][weight.mask == 0].all()


@pytest.mark.parametrize("loss", [None, Factory("torch.nn.MSELoss")])
def test_what_is_learnt_is_the_networks_own_output_not_the_labels(store, loss):
    setup = replace(PLAIN, loss=loss, num_classes=None if loss else 10)
    if loss:
        setup = replace(setup, metric=Factory.of(no_metric))
    before = store.weights(*START)
    after = trainer.train(replace(JOB, setup=setup, hardening=(0.0, 0.0)), store).weights
    for name, weight in before.items():
        assert torch.allclose(weight, after[name], atol=1e-6), name
    faulty = trainer.train(replace(JOB, setup=setup), store).weights
    assert not torch.allclose(before["layers.0.weight"], faulty["layers.0.weight"], atol=1e-4)


def no_metric():
    import torchmetrics

    return torchmetrics.MeanSquaredError()


def test_it_goes_on_where_it_was_cut_off(store, tmp_path, monkeypatch):
    class CutError(Exception):
        pass

    def die(self, trainer, *_):
        if trainer.global_step == 5:
            raise CutError

    asked, checkpoints = replace(JOB, amount_steps=7), Checkpoints(tmp_path, 2)
    expected = trainer.train(asked, store)
    monkeypatch.setattr(Checkpointer, "on_train_batch_start", die, raising=False)
    with pytest.raises(CutError):
        trainer.train(asked, store, checkpoints)
    monkeypatch.undo()
    assert checkpoints.latest() is not None
    result = trainer.train(asked, store, checkpoints)
    for name, weight in expected.weights.items():
        assert torch.equal(result.weights[name], weight), name


def test_statistics_are_those_without_faults_and_the_metric_is_measured_there(store):
    setup = replace(SETUP, optimizer=PLAIN.optimizer)
    asked = replace(JOB, setup=setup, start=("pretrain", "resnet"), amount_steps=2)
    trained, hardened = trainer.train(asked, store), trainer.harden(asked, store)
    assert hardened.values["amount_steps"] == [2]
    assert hardened.values["elapsed_s"] > 0
    names = [n for n in trained.weights if "running_" in n or "num_batches" in n]
    assert len(names) > 20
    for name, weight in trained.weights.items():
        assert torch.equal(weight, hardened.weights[name]) == (name not in names), name
    store.write("harden", "resnet", hardened)
    again = trainer.train(TrainingJob(setup, 1, 0, 1, ("harden", "resnet")), store)
    assert again.values["metric"] == hardened.values["metric"]


class Hardening(FakeRunner):
    def run(self, stage, function, jobs):
        if function is not trainer.harden:
            return super().run(stage, function, jobs)
        self.asked.append((stage, function, list(jobs)))
        values = {"metric": [0.8125], "elapsed_s": 9.0, "diverged_steps": None}
        return [("two", values) for _ in jobs]


TEMPLATE = replace(JOB, start=None, amount_steps=30)
HERE = experiment(recipe=Recipe(("harden", "retrain", "top_up")), hardening=TEMPLATE)


def test_everything_starts_from_the_hardened_network_but_the_constraint():
    campaign = Hardening()
    baseline = stages.harden(HERE, campaign, BASELINE)
    assert campaign.asked[0][2] == [replace(TEMPLATE, start=BASELINE.weights)]
    assert baseline.hardened == Hardened(("harden", "two"), 0.8125, 30, 9.0)
    assert (baseline.start, BASELINE.start) == (("harden", "two"), BASELINE.weights)
    assert State(HERE, baseline=baseline).target == 0.625  # of the baseline's 0.875
    assert retraining_job(HERE, baseline, CHIPS[0].fault_map, 3).start == ("harden", "two")
    assert group_job(HERE, baseline, group("a"), until_pass=True).until.limit == 0.625
    assert stages.harden(experiment(), campaign, BASELINE) is BASELINE
    found = stages.evaluate(HERE, campaign, baseline, {"greedy": ()})
    assert isinstance(found, Evaluation)
    assert found.baseline == Measured(0.5, 0.4375)
    assert found.hardened == Measured(1.0, 0.9375)
    assert found.before["a"].val == 0.5 - 5 / 64  # the masked baseline, not the hardened network


def test_a_hardening_that_diverges_is_an_error():
    class Diverging(Hardening):
        def run(self, stage, function, jobs):
            return [("two", {"metric": [], "elapsed_s": 1.0, "diverged_steps": 4}) for _ in jobs]

    with pytest.raises(EfatError, match=r"diverged at step 4; use a lower learning rate \(hardeni"):
        stages.harden(HERE, Diverging(), BASELINE)


def test_what_cannot_be_hardened_is_refused():
    (found,) = recipe_problems(
        Recipe(("harden",)), ResNet(8, 10, 1, 4), torch.zeros(2, 1, 8, 8), "os", ()
    )
    assert found.startswith("recipe.steps: harden given, but array.dataflow=os keeps no weight")
    words = ["model=mlp", "hardening.fault_rate=[0.5,0.2]", "hardening.epochs=0"]
    (cfg,) = compose_jobs([*words, "hardening.optimizer.lr=-1"])
    with pytest.raises(EfatError) as error:
        build_experiment(cfg)
    text = "\n".join(error.value.problems)
    assert "hardening.fault_rate: [0.5, 0.2] given; [lowest, highest] in [0, 1] is needed" in text
    assert "hardening.epochs: 0.0 given; a finite number > 0 is needed" in text
    assert "hardening.optimizer: " in text


TINY = (
    "+experiment=resnet_fat", "model=mlp", "recipe.steps=[harden,retrain]", "executor=serial",
    "hardening.epochs=2", "baseline.epochs=4", "fault_rates.rates=[0.2]",
    "fault_rates.maps_per_rate=1", "training.budget_epochs=0.5", "fleet.chips=2",
    "fleet.fault_rate=0.1", "selection.max_drop=0.1", "compare=[none,early_stop]",
)  # fmt: skip


def test_a_campaign_counts_it_once_and_says_what_it_cost_the_network(tmp_path):
    ran = efat(tmp_path, *TINY)
    assert ran.returncode == 0, ran.stderr
    (folder,) = tmp_path.glob("outputs/resnet_fat/*")
    summary = json.loads((folder / "summary.json").read_text())
    cost, after = summary["hardening"], summary["hardened"]
    assert (cost["steps"], cost["samples"]) == (66, 66 * 32)
    rows = list(csv.DictReader((folder / "units.csv").open()))
    (unit,) = [row for row in rows if row["stage"] == "harden"]
    assert float(unit["result"]) == pytest.approx(after["val"])
    assert f"hardened   {after['val']:.2%} on validation without faults" in ran.stdout
    assert "The network was hardened first, once: 2.0 epochs" in (folder / "report.md").read_text()
    cells = {c[0]: c for c in map(str.split, ran.stdout.splitlines()) if len(c) > 8}
    for result in summary["strategies"]:
        epochs = result["retraining"]["epochs"] + 2.0 * (result["models"] > 0)
        epochs += summary["analysis"]["epochs"] * result["needs_analysis"]
        assert cells[result["name"]][3] == f"{epochs:.1f}"
    status = efat(tmp_path, *TINY, "stage=status")
    (line,) = [line for line in status.stdout.splitlines() if line.startswith("harden ")]
    assert line.split()[1:4] == ["1", "0", "0"]
