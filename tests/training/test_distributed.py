"""One training in several processes (`trainer=ddp`), as Lightning starts them."""

from pathlib import Path

import numpy as np
import pytest

from efat import FaultMap, SystolicArray
from efat.engine.executors import Launch
from efat.engine.store import Store, content_key
from efat.engine.unit import JobRunner, Unit
from efat.training import Factory
from efat.training.jobs import TrainingJob
from efat.training.trainer import train
from tests.training.specs import spec

ARRAY = SystolicArray(8, 8)
FAULTS = FaultMap(np.random.default_rng(0).random((8, 8)) < 0.3)
IN_TWO = {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}


def job(batch_size, trainer):
    data = Factory("efat.data.Digits", {"batch_size": batch_size})
    setup = spec(data=data, trainer=trainer)
    return TrainingJob(setup, 7, 40, 10, None, ARRAY, FAULTS)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_with_twice_the_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    store, in_two = Store(tmp_path), job(16, IN_TWO)
    unit = Unit("train", content_key("train", in_two), in_two)
    ((_, two),) = Launch(retries=0).run(JobRunner(train, store, 20, "driver"), [unit])
    one = train(job(32, {"accelerator": "cpu"}), store)
    log = store.log("train", unit.key).read_text()
    assert "MEMBER: 2/2" in log
    assert log.count("attempt") == log.count("ended after") == 1
    assert two.origin["retries"] == 0
    assert two.values["amount_steps"] == one.values["amount_steps"]
    np.testing.assert_allclose(two.values["metric"], one.values["metric"], atol=0.005)
    for name, weights in one.weights.items():
        np.testing.assert_allclose(two.weights[name], weights, rtol=1e-3, atol=1e-4)
    assert [path.suffix for path in store.checkpoints("train", unit.key).iterdir()] == [".ckpt"]
