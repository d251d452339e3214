"""Scikit-learn's handwritten digits: 1,797 real 8x8 images that ship with the package."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from efat.data.datamodule import Options
from efat.data.loaders import TensorBatches, share_of

Split = tuple[Tensor, Tensor]


class Digits(pl.LightningDataModule):
    """Train (60 %), validation (20 %) and test (20 %) splits, stratified, the same in every run.

    Images are [1, 8, 8], standardised with the mean and deviation of the training split.

    Args:
        batch_size: Samples per training batch.
        eval_batch_size: Samples per batch of validation and test; with an output- or
            input-stationary array a sample's place in its batch decides its PEs.
        split_seed: Of the splits; apart from the run's seed, so that runs with different seeds are
            tested on the same images.
    """

    num_classes = 10

    def __init__(
        self, batch_size: int = 64, eval_batch_size: int = 512, split_seed: int = 0
    ) -> None:
        super().__init__()
        self.options = Options(
            batch_size=batch_size, eval_batch_size=eval_batch_size, split_seed=split_seed
        )
        self.splits: dict[str, Split] = {}

    def setup(self, stage: str) -> None:
        if self.splits:
            return
        images, labels = load_digits(return_X_y=True)
        fifth, seed = len(labels) // 5, self.options.split_seed
        rest, test = _split(np.arange(len(labels)), labels, fifth, seed)
        train, val = _split(rest, labels, fifth, seed)
        scaled = (images - images[train].mean()) / images[train].std()
        x = torch.from_numpy(scaled.astype(np.float32)).reshape(-1, 1, 8, 8)
        y = torch.from_numpy(labels.astype(np.int64))
        self.splits = {n: (x[i], y[i]) for n, i in (("train", train), ("val", val), ("test", test))}

    def train_dataloader(self) -> TensorBatches:
        return TensorBatches(
            *self.splits["train"], self.options.batch_size, shuffle=True, shard=share_of(self)
        )

    def val_dataloader(self) -> TensorBatches:
        return TensorBatches(*self.splits["val"], self.options.eval_batch_size)

    def test_dataloader(self) -> TensorBatches:
        return TensorBatches(*self.splits["test"], self.options.eval_batch_size)


def _split(
    indices: np.ndarray, labels: np.ndarray, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split `size` of `indices` off, stratified by label."""
    kept, cut = train_test_split(
        indices, test_size=size, stratify=labels[indices], random_state=seed
    )
    return kept, cut
