import inspect
import math
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from efat import EfatError, FaultMap, mask_model, verify_masks
from efat.data.digits import Digits
from efat.engine.store import Store
from efat.models.mlp import MLP
from efat.models.resnet import ResNet
from efat.nn.masking import MASK, masked_layers
from efat.training.callbacks import CheckMasksAndDivergence, CurveRecorder
from efat.training.factory import Factory
from efat.training.hardening import HardeningModule
from efat.training.jobs import EvaluationJob, TrainingJob
from efat.training.module import FaultAwareModule
from efat.training.trainer import build_trainer, evaluate, train
from tests.training.specs import ARRAY, DIGITS, FAULTS, sgd, spec


def job(steps, every=0, **changes):
    return TrainingJob(spec(**changes), 7, steps, every, None, ARRAY, FAULTS)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


PLAIN = Factory("tests.data.plain_data.PlainDigits", {"batch_size": 32})


@pytest.mark.parametrize("data", [DIGITS, PLAIN], ids=["tensors", "torch DataLoader"])
def test_prefix_rule_training_for_e_gives_the_point_of_the_curve_at_e(store, data):
    curve = train(job(40, 8, data=data), store).values  # two epochs: two orders of the samples
    assert curve["amount_steps"] == [0, 8, 16, 24, 32, 40]
    for steps in (8, 24, 40):
        short = train(job(steps, steps, data=data), store).values
        assert short["metric"][-1] == curve["metric"][steps // 8]


@pytest.mark.parametrize("data", [DIGITS, PLAIN], ids=["tensors", "torch DataLoader"])
def test_evaluating_on_the_way_changes_no_weight(store, data):
    watched, plain = train(job(40, 4, data=data), store), train(job(40, data=data), store)
    assert plain.values["metric"] == []
    for name, weight in plain.weights.items():
        assert torch.equal(weight, watched.weights[name])


def test_a_curve_off_its_grid_is_refused(store):
    """33 batches at 2 a step: Lightning cuts the last step of an epoch short."""
    with pytest.raises(EfatError, match=r"multiple of trainer\.accumulate_grad_batches"):
        train(job(48, 4, trainer={"accelerator": "cpu", "accumulate_grad_batches": 2}), store)
    steps = train(job(24, 4, trainer={"accelerator": "cpu", "accumulate_grad_batches": 3}), store)
    assert steps.values["amount_steps"] == [0, 4, 8, 12, 16, 20, 24]  # over two epochs of 11 steps


def test_a_diverged_training_says_so(store):
    result = train(job(4, 2, optimizer=sgd(math.nan)), store)
    assert result.values["diverged_steps"] == 2  # where the loss was NaN first
    assert result.values["amount_steps"] == [0]
    assert result.weights is None


def test_the_seed_alone_decides(store):
    first, again = train(job(10), store), train(job(10), store)
    other = train(TrainingJob(spec(), 8, 10, 0, None, ARRAY, FAULTS), store)
    assert all(torch.equal(first.weights[n], again.weights[n]) for n in first.weights)
    assert not all(torch.equal(first.weights[n], other.weights[n]) for n in first.weights)


def test_amount_zero_is_the_masked_start(store):
    store.write("train", "start", train(TrainingJob(spec(), 7, 20), store))
    start = ("train", "start")
    result = train(TrainingJob(spec(), 1, 0, 0, start, ARRAY, FAULTS), store)
    expected = MLP([64, 24, 10])
    expected.load_state_dict(store.weights(*start))
    mask_model(expected, FAULTS, ARRAY)
    for name, weight in expected.state_dict().items():
        assert torch.equal(result.weights[name], weight)


@pytest.mark.parametrize(
    "trainer",
    [{"gradient_clip_val": 0.1}, {"accumulate_grad_batches": 3}, {"precision": "bf16-mixed"}, {}],
)
def test_weights_of_a_training_are_masked_and_load_into_the_plain_model(store, trainer):
    result = train(job(6, 3, trainer={"accelerator": "cpu", **trainer}), store)
    assert result.values["amount_steps"] == [0, 3, 6]  # steps are the optimizer's, not batches
    plain = MLP([64, 24, 10])
    plain.load_state_dict(result.weights, strict=True)
    masked = mask_model(MLP([64, 24, 10]), FAULTS, ARRAY)
    for name, layer in masked_layers(masked).items():
        assert not plain.get_submodule(name).weight[getattr(layer, MASK) == 0].any()


def test_evaluation_measures_each_map_and_the_fault_free_network(store):
    store.write("train", "start", train(TrainingJob(spec(), 7, 300), store))
    everything = FaultMap(np.ones((8, 8), bool))
    maps = (None, FaultMap.none(8, 8), FAULTS, everything, None)
    values = evaluate(EvaluationJob(spec(), ("train", "start"), ARRAY, maps), store).values
    val, test = values["val"], values["test"]
    assert values["test_samples"] == 359
    assert val[0] == val[1] == val[4] > 0.9  # masks of one map do not stay for the next
    assert val[3] < 0.2 < val[2] < val[0]
    model = MLP([64, 24, 10])
    model.load_state_dict(store.weights("train", "start"))
    mask_model(model, FAULTS, ARRAY)
    data = Digits()
    data.setup("test")
    for split, got in (("val", val), ("test", test)):
        x, y = data.splits[split]
        assert got[2] == pytest.approx(float((model(x).argmax(1) == y).float().mean()))


def test_lightning_checkpoints_hold_zeros_and_no_masks(tmp_path):
    """As a user would train: own Trainer, own checkpoints."""
    torch.manual_seed(0)
    model = mask_model(ResNet(8, 10, 1, width=4), FAULTS, ARRAY)
    module = FaultAwareModule(model, 10, partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1))
    saver = pl.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
    trainer = pl.Trainer(
        max_steps=6, accelerator="cpu", logger=False, callbacks=[saver, CheckMasksAndDivergence()],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, Digits())
    files = sorted(tmp_path.glob("*.ckpt"))
    assert len(files) == 3
    for file in files:
        state = torch.load(file, weights_only=True)["state_dict"]
        assert not [name for name in state if "mask" in name]
        plain = ResNet(8, 10, 1, width=4)
        plain.load_state_dict(
            {k.removeprefix("model."): v for k, v in state.items() if "model." in k}
        )
        for name, layer in masked_layers(model).items():
            assert not plain.get_submodule(name).weight[getattr(layer, MASK) == 0].any()


def test_mask_guard_stops_a_training_that_breaks_the_mask():
    class Careless(FaultAwareModule):
        def configure_optimizers(self):
            return self.optimizer_factory(self.model.parameters())

    model = mask_model(MLP([64, 10]), FAULTS, ARRAY)
    trainer = pl.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, callbacks=[CheckMasksAndDivergence()], limit_val_batches=0,
    )  # fmt: skip
    with pytest.raises(EfatError, match="pruned weights are not 0"):
        trainer.fit(Careless(model, 10, partial(torch.optim.SGD, lr=0.1)), Digits())


def test_a_recorder_in_a_users_trainer_skips_the_sanity_check():
    recorder = CurveRecorder()
    module = FaultAwareModule(MLP([64, 10]), 10, partial(torch.optim.SGD, lr=0.1))
    pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, callbacks=[recorder], num_sanity_val_steps=1,
    ).fit(module, Digits())  # fmt: skip
    assert recorder.amount_steps == [16, 32]
    verify_masks(module)


@pytest.mark.parametrize(
    ("trainer", "largest"), [({"gradient_clip_val": 0.01}, 0.01), ({}, float("inf"))]
)
def test_gradients_are_clipped_where_the_trainer_says_so(trainer, largest):
    norms = []

    class Watched(FaultAwareModule):
        def configure_gradient_clipping(self, *args, **named):
            super().configure_gradient_clipping(*args, **named)
            norms.append(nn.utils.get_total_norm([p.grad for p in self.model.parameters()]))

    module = Watched(MLP([64, 10]), 10, partial(torch.optim.SGD, lr=0.1))
    build_trainer({"accelerator": "cpu", **trainer}, amount_steps=2).fit(module, Digits())
    assert len(norms) == 2
    assert 0.009 < max(norms) <= largest * 1.001


def test_a_module_takes_texts_as_torch_does():
    module = FaultAwareModule(MLP([64, 10]), 10, partial(torch.optim.SGD, lr=0.1))
    module.note = "first"
    module.note = None
    assert module.__dict__["note"] is None
    with pytest.raises(TypeError, match="cannot assign"):
        module.model = "no network"
    module.note = nn.Parameter(torch.zeros(1))
    module.note = None  # of a parameter now
    assert "note" in module._parameters


def test_lightning_is_told_how_many_arguments_a_training_step_takes(monkeypatch):
    """It asks before each step; working the answer out from the code costs more than the rest."""
    asked = []
    monkeypatch.setattr(inspect, "_signature_from_function", lambda *_, **__: asked.append(1))
    for kind in (FaultAwareModule, HardeningModule):
        assert inspect.getfullargspec(kind.training_step).args == ["self", "batch", "batch_idx"]
    assert not asked


def test_what_is_not_profiled_has_one_context():
    plain = build_trainer({}).profiler
    with plain.profile("outer"), plain.profile("inner"):
        assert plain.profile("outer") is plain.profile("inner")


def test_a_schedule_is_stepped_every_optimizer_step(store):
    linear = torch.optim.lr_scheduler.LinearLR
    warm_up = Factory.of(partial(linear, start_factor=1e-9, total_iters=4))
    cold, warm = train(job(1, scheduler=warm_up), store), train(job(1), store)
    masked_start = train(job(0), store)
    name = "layers.0.weight"
    torch.testing.assert_close(cold.weights[name], masked_start.weights[name], rtol=0, atol=1e-6)
    assert not torch.allclose(warm.weights[name], masked_start.weights[name], atol=1e-6)
