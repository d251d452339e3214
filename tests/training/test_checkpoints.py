"""A training that was cut off and goes on is equal, to the bit, to one that was not."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from efat import FaultMap, SystolicArray
from efat.engine.store import Store
from efat.training import Factory, trainer
from efat.training.checkpoints import Checkpointer, Checkpoints
from efat.training.jobs import TrainingJob
from tests.training.specs import spec

ARRAY = SystolicArray(8, 8)
FAULTS = FaultMap(np.random.default_rng(0).random((8, 8)) < 0.3)
STEPS = 12  # epochs of 5 batches: ends, middles and a third epoch that is cut short


def dropout_net():
    layers = (nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 10))
    return nn.Sequential(nn.Flatten(), *layers)


CASES = {
    "efat's loader": {"data": Factory("efat.data.Digits", {"batch_size": 200})},
    "torch's loader": {"data": Factory("tests.data.plain_data.PlainDigits", {"batch_size": 200})},
    "accumulated": {
        "data": Factory("efat.data.Digits", {"batch_size": 107}),
        "trainer": {"accelerator": "cpu", "accumulate_grad_batches": 2},
    },
}


def job(case, every):
    setup = spec(
        model=Factory.of(dropout_net),
        optimizer=Factory.of(partial(torch.optim.AdamW, lr=0.01)),
        scheduler=Factory.of(partial(torch.optim.lr_scheduler.StepLR, step_size=3, gamma=0.5)),
        **CASES[case],
    )
    return TrainingJob(setup, 7, STEPS, every, None, ARRAY, FAULTS)


class CutError(Exception):
    pass


def cut_at(step, patch):
    """Let a training die at the start of the batch after `step`."""

    def die(self, trainer, *_):
        if trainer.global_step == step:
            raise CutError

    patch.setattr(Checkpointer, "on_train_batch_start", die, raising=False)


def assert_equal(result, expected):
    for name in ("amount_steps", "metric"):
        assert result.values[name] == expected.values[name]
    for name, weight in expected.weights.items():
        assert torch.equal(result.weights[name], weight), name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("checkpoint_every", "every"), [(1, 0), (1, 3), (4, 2)])
def test_a_resumed_training_is_equal_to_the_bit(
    tmp_path, monkeypatch, case, checkpoint_every, every
):
    asked, store = job(case, every), Store(tmp_path)
    expected = trainer.train(asked, store)
    checkpoints = Checkpoints(tmp_path / "unit", checkpoint_every)
    steps_done = []
    for step in range(checkpoint_every + 1, STEPS, checkpoint_every + 1):
        cut_at(step, monkeypatch)
        with pytest.raises(CutError):
            trainer.train(asked, store, checkpoints)
        steps_done.append(int(checkpoints.latest().name.split("-")[1]))
    assert steps_done == sorted(set(steps_done))  # each attempt got further than the one before
    cut_at(None, monkeypatch)
    assert_equal(trainer.train(asked, store, checkpoints), expected)
    assert_equal(trainer.train(asked, store, Checkpoints(tmp_path / "other", 2)), expected)
