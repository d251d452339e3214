"""Load the network and the samples that a job starts from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from efat.engine import Store
from efat.nn.repair import inputs_of
from efat.training.jobs import TrainSpec, Weights


def load_model(setup: TrainSpec, store: Store, start: Weights | None) -> nn.Module:
    """Build the plain network, with stored weights if `start` names some."""
    model: nn.Module = setup.model()
    if start is not None:
        model.load_state_dict(store.weights(*start))
    return model


def training_batches(setup: TrainSpec, seed: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Return one pass over the training split, in the order that `seed` gives."""
    data = setup.data()
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(seed)
    batches: Iterable[tuple[Tensor, Tensor]] = data.train_dataloader()
    return batches


def calibration_batches(setup: TrainSpec, samples: int, seed: int) -> Iterator[Tensor]:
    """Yield inputs of the training split, augmented as in training: `samples`, or one pass."""
    remaining = samples
    for batch in training_batches(setup, seed):
        inputs = inputs_of(batch)[:remaining]
        remaining -= len(inputs)
        yield inputs
        if not remaining:
            return
