"""A data module as a user writes it: torch's own DataLoader, nothing of efat."""

import pytorch_lightning as pl
from torch.utils.data import DataLoader, TensorDataset

from efat.data.digits import Digits


class PlainDigits(pl.LightningDataModule):
    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        digits = Digits()
        digits.setup(stage)
        self.splits = {name: TensorDataset(*split) for name, split in digits.splits.items()}

    def train_dataloader(self):
        return DataLoader(self.splits["train"], self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.splits["val"], 128)
