"""Trainings that are cut off where a test says, as if their process had been killed."""

import pytest

from efat.training.checkpoints import Checkpointer
from efat.training.trainer import train


class CutError(Exception):
    pass


def cut_off(job, store, checkpoints, step):
    """Train until optimizer step `step` is done, and no further."""

    def die(self, trainer, *_):
        if trainer.global_step == step:
            raise CutError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpointer, "on_train_batch_start", die, raising=False)
        with pytest.raises(CutError):
            train(job, store, checkpoints)
