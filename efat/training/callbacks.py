"""Lightning callbacks of fault-aware training."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from efat.hardware import FaultMap
from efat.nn.masking import masked_weights, verify_masks
from efat.training.finetune import DivergedError
from efat.training.injection import Injection


class CurveRecorder(pl.Callback):
    """Record the validation metric against the amount of training: points of a resilience curve.

    Each validation adds a point at the optimizer step it happened at; `trainer.validate` before
    `trainer.fit` gives the point at amount 0.
    """

    def __init__(self) -> None:
        self.amount_steps: list[int] = []
        self.metric: list[float] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.amount_steps.append(trainer.global_step)
            self.metric.append(float(trainer.callback_metrics["val_metric"]))

    def state_dict(self) -> dict[str, Any]:
        return {"amount_steps": list(self.amount_steps), "metric": list(self.metric)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.amount_steps = list(state_dict["amount_steps"])
        self.metric = list(state_dict["metric"])


class StopWhenMet(pl.Callback):
    """Stop a training after the first evaluation during it at which `met` accepts the curve."""

    def __init__(self, curve: CurveRecorder, met: Callable[[Sequence[float]], bool]) -> None:
        self.curve, self.met = curve, met

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            trainer.should_stop |= self.met(self.curve.metric)


class KeepFirstEvaluation(pl.Callback):
    """Keep the weights of the first evaluation, in case the training diverges after it.

    Args:
        step: Optimizer step of that evaluation.
        weights: Returns a copy of the network's weights, masked by all faults.
    """

    def __init__(self, step: int, weights: Callable[[], dict[str, Tensor]]) -> None:
        self.step, self.weights = step, weights
        self.kept: dict[str, Tensor] | None = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == self.step:
            self.kept = self.weights()

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.kept = state_dict["kept"]


class ValidateAtSteps(pl.Callback):
    """Validate at the optimizer steps that `is_due` accepts: Lightning's interval counts from 0."""

    def __init__(self, is_due: Callable[[int], bool]) -> None:
        self.is_due, self.step = is_due, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.step = trainer.global_step
        trainer.val_check_batch = 1 if self.is_due(self.step) else sys.maxsize  # after a resume

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        stepped, self.step = trainer.global_step > self.step, trainer.global_step
        trainer.val_check_batch = 1 if stepped and self.is_due(self.step) else sys.maxsize


class PreserveRngState(pl.Callback):
    """Keep validations from changing the random numbers of training (the prefix rule).

    A torch `DataLoader` takes a number from torch's generator at the start of each pass, the
    validation loader too; therefore each validation restores the state from before it.
    """

    def __init__(self) -> None:
        self.state = torch.get_rng_state()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.state = torch.get_rng_state()  # a validation follows right after this hook

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            torch.set_rng_state(self.state)


class ProgressiveFaults(pl.Callback):
    """Mask a training by its faults part by part, and every evaluation by all of them.

    A chip has all its faults: evaluations and the deployed model (`finish`) are masked by the whole
    fault map. The training continues with the weights that are not pruned yet.

    Args:
        model: Masked by the first part.
        mask: Masks it by a fault map.
        whole: All faults.
        injection: Gives the faults of each step.
    """

    def __init__(
        self,
        model: nn.Module,
        mask: Callable[[FaultMap], object],
        whole: FaultMap,
        injection: Injection,
    ) -> None:
        self.model, self.mask, self.whole, self.injection = model, mask, whole, injection
        self.injected = 0
        self.kept: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.injected = 0
        self._inject(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._inject(trainer)

    @torch.no_grad()
    def _inject(self, trainer: pl.Trainer) -> None:
        """Add the parts that are due, and clear the momentum of the weights that they prune."""
        due = self.injection.injected(trainer.global_step)
        if due == self.injected:
            return
        self.injected = due
        self.mask(self.injection.fault_map(self.whole, due))
        for weight in masked_weights(self.model).values():
            for optimizer in trainer.optimizers:
                state = optimizer.state.get(weight.tensor, {})
                for value in state.values():
                    if isinstance(value, Tensor) and value.shape == weight.tensor.shape:
                        value.mul_(weight.mask)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.kept = {n: w.tensor.detach().clone() for n, w in masked_weights(self.model).items()}
        self.mask(self.whole)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for name, weight in masked_weights(self.model).items():
            weight.tensor.data = self.kept[name]
        self.mask(self.injection.fault_map(self.whole, max(1, self.injected)))

    def finish(self) -> None:
        """Mask by all faults at the end of the training."""
        self.mask(self.whole)
        verify_masks(self.model)


class CheckMasksAndDivergence(pl.Callback):
    """Stop with an `EfatError` if training diverged, or if a pruned weight is not 0."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        finite = loss is None or math.isfinite(float(loss))
        if not trainer.strategy.reduce_boolean_decision(finite):  # of all processes
            raise DivergedError(
                f"training: diverged, the loss is {float(loss)} at step {trainer.global_step}; "
                "use a lower learning rate"
            )

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._verify(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._verify(pl_module)

    def _verify(self, module: pl.LightningModule) -> None:
        if not all(bool(torch.isfinite(weight).all()) for weight in module.parameters()):
            raise DivergedError(
                "training: diverged, a weight is not finite; use a lower learning rate"
            )
        verify_masks(module)
