"""The Lightning module that wraps fault-aware training (METHOD section 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from efat.masking import keep_masked, masked_layers

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]

Batch = tuple[Tensor, Tensor]


class FaultAwareModule(pl.LightningModule):
    """Train a classifier; where it is masked (`mask_model`), its pruned weights stay 0.

    Logs `val_accuracy` and `test_accuracy`, in [0, 1].

    Args:
        model: Maps inputs [batch, ...] to logits [batch, num_classes]; masked or not.
        num_classes: Classes of the data set.
        optimizer: Makes the optimizer from the parameters, e.g. `partial(SGD, lr=0.01)`.
        scheduler: Makes a learning-rate schedule, stepped once an optimizer step; none by default.
            For resilience curves it must not depend on the budget (the prefix rule).
    """

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer_factory, self.scheduler_factory = optimizer, scheduler
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, targets = batch
        return functional.cross_entropy(self(inputs), targets)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        inputs, targets = batch
        self.val_accuracy.update(self(inputs), targets)
        self.log("val_accuracy", self.val_accuracy)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        inputs, targets = batch
        self.test_accuracy.update(self(inputs), targets)
        self.log("test_accuracy", self.test_accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.model.parameters())
        if masked_layers(self.model):
            keep_masked(self.model, optimizer)
        if self.scheduler_factory is None:
            return optimizer
        schedule = {"scheduler": self.scheduler_factory(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}
