"""Lightning callbacks of fault-aware training."""

from __future__ import annotations

import pytorch_lightning as pl

from efat.masking import verify_masks


class CurveRecorder(pl.Callback):
    """Record validation accuracy against the amount of training, the points of a resilience curve.

    Each validation adds a point at the optimizer step it happened at; `trainer.validate` before
    `trainer.fit` gives the point at amount 0.
    """

    def __init__(self) -> None:
        self.amount_steps: list[int] = []
        self.accuracy: list[float] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.amount_steps.append(trainer.global_step)
            self.accuracy.append(float(trainer.callback_metrics["val_accuracy"]))


class MaskGuard(pl.Callback):
    """Stop with an `EfatError` if a pruned weight is not 0 at a validation or at the end."""

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        verify_masks(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        verify_masks(pl_module)
