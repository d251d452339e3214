"""The Lightning module that wraps fault-aware training (METHOD section 3)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from efat.errors import EfatError
from efat.nn.masking import keep_masked, masked_layers
from efat.training.finetune import FineTuneOptions, scale_rates

OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]
Loss = Callable[[Tensor, Tensor], Tensor]

Batch = tuple[Tensor, Tensor]

Function = TypeVar("Function", bound=Callable[..., Any])


def with_signature(function: Function) -> Function:
    """Store a function's signature in it: Lightning reads that of `training_step` at each step.

    Without `__signature__`, `inspect` computes it from the code each time.
    """
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


class FaultAwareModule(pl.LightningModule):
    """Train a network; where it is masked (`mask_model`), its pruned weights stay 0.

    Logs `val_metric` and `test_metric`.

    Args:
        model: Maps inputs [batch, ...] to outputs, e.g. logits [batch, num_classes]; masked or
            not. Output objects are unwrapped, see `unwrap`.
        num_classes: Classes of the data set; used by the accuracy, so not with another `metric`.
        optimizer: Makes the optimizer from the parameters, e.g. `partial(SGD, lr=0.01)`.
        scheduler: Makes a learning-rate schedule, stepped once per optimizer step; none by default.
            For resilience curves it must not depend on the budget (the prefix rule).
        loss: Mean loss of (outputs, targets).
        metric: Of (outputs, targets); accuracy by default.
        finetune: Frozen layers, learning rates by layer, mode of batch normalisation.
    """

    def __init__(
        self,
        model: nn.Module,
        num_classes: int | None,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        loss: Loss = functional.cross_entropy,
        metric: torchmetrics.Metric | None = None,
        finetune: FineTuneOptions | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer_factory, self.scheduler_factory = optimizer, scheduler
        self.loss, self.finetune = loss, finetune or FineTuneOptions()
        self.val_metric = metric or MulticlassAccuracy(num_classes, average="micro")
        self.test_metric = self.val_metric.clone()
        self.finetune.freeze(model)

    check_masks = False
    """True if `CheckMasksAndDivergence` runs, so that `keep_masked` may trust gradients."""

    def on_test_start(self) -> None:
        self.tested: list[int] = []
        """Number of targets of each batch of the test split."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Replace a text or None by another as a plain object does.

        torch checks whether a value is a parameter, a module or a buffer, and Lightning sets the
        name of each hook that it calls, 40 times per step. An attribute in `__dict__` is none of
        the three.
        """
        if (value is None or isinstance(value, str)) and name in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        return unwrap(self.model(x))

    def on_train_start(self) -> None:
        self.finetune.set_modes(self.model)

    @with_signature
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, targets = batch
        return self.loss(self(inputs), targets)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if gradient_clip_val:  # else Lightning searches its names of algorithms at each step
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        inputs, targets = batch
        self.val_metric.update(self(inputs), targets)
        self.log("val_metric", self.val_metric)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        inputs, targets = batch
        self.test_metric.update(self(inputs), targets)
        self.tested.append(targets.numel())
        self.log("test_metric", self.test_metric)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.finetune.parameter_groups(self.model))
        scale_rates(optimizer)
        if masked_layers(self.model):
            keep_masked(self.model, optimizer, self.check_masks)
        if self.scheduler_factory is None:
            return optimizer
        schedule = {"scheduler": self.scheduler_factory(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def unwrap(output: Any) -> Tensor:
    """Return the tensor of a network's output.

    Hugging Face models return an object with `logits`, torchvision's segmentation models a mapping
    with `out`, and some networks a tuple whose first entry counts.

    Raises:
        EfatError: None of these.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) or hasattr(output, "logits"):
        for name in ("logits", "out"):
            value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
            if isinstance(value, Tensor):
                return value
    elif isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    raise EfatError(
        f"model: returns a {type(output).__name__}; a tensor, an object with logits, a mapping "
        "with logits or out, or a tuple of tensors is needed"
    )
