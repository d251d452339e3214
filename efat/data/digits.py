"""Scikit-learn's handwritten digits: 1,797 real 8x8 images that ship with the package."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from efat.data.tensors import TensorBatches

Split = tuple[Tensor, Tensor]


class Digits(pl.LightningDataModule):
    """Train (60 %), validation (20 %) and test (20 %) splits, stratified, the same in every run.

    Images are [1, 8, 8], standardised with the mean and deviation of the training split.

    Args:
        batch_size: Samples a training batch.
        split_seed: Which samples go where; apart from the run's seed, so that runs with different
            seeds are tested on the same images.
    """

    num_classes = 10

    def __init__(self, batch_size: int = 64, split_seed: int = 0) -> None:
        super().__init__()
        self.batch_size, self.split_seed = batch_size, split_seed
        self.splits: dict[str, Split] = {}

    def setup(self, stage: str) -> None:
        if self.splits:
            return
        images, labels = load_digits(return_X_y=True)
        rest, test = _split(np.arange(len(labels)), labels, len(labels) // 5, self.split_seed)
        train, val = _split(rest, labels, len(labels) // 5, self.split_seed)
        scaled = (images - images[train].mean()) / images[train].std()
        x = torch.from_numpy(scaled.astype(np.float32)).reshape(-1, 1, 8, 8)
        y = torch.from_numpy(labels.astype(np.int64))
        self.splits = {n: (x[i], y[i]) for n, i in (("train", train), ("val", val), ("test", test))}

    def train_dataloader(self) -> TensorBatches:
        return TensorBatches(*self.splits["train"], self.batch_size, shuffle=True)

    def val_dataloader(self) -> TensorBatches:
        return TensorBatches(*self.splits["val"], batch_size=512)

    def test_dataloader(self) -> TensorBatches:
        return TensorBatches(*self.splits["test"], batch_size=512)


def _split(
    indices: np.ndarray, labels: np.ndarray, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut `size` of `indices` off, stratified by label."""
    kept, cut = train_test_split(
        indices, test_size=size, stratify=labels[indices], random_state=seed
    )
    return kept, cut
