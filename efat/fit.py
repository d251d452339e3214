"""One job in, one result out: training, or evaluating, one masked network.

The only builder of a Lightning `Trainer`. Jobs are values: they cross process boundaries, and their
content is the key under which their result is stored.
"""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from torch import nn
from torch.nn import functional

from efat.callbacks import CurveRecorder, MaskGuard, SameDraws
from efat.checkpoints import Checkpointer, Checkpoints, can_resume, make_resumable
from efat.errors import EfatError
from efat.faults import FaultMap
from efat.mapping import SystolicArray
from efat.masking import mask_model
from efat.module import FaultAwareModule, Loss, unwrap
from efat.recipe import DivergedError, Recipe
from efat.store import Result, Store
from efat.weight_files import WeightFile

Node = Mapping[str, Any]
"""A Hydra node: `_target_` and its arguments."""


PLAIN_RECIPE = Recipe()


@dataclass(frozen=True)
class Setup:
    """What is trained, on what, and how; one for the baseline, one for fault-aware retraining.

    Args:
        model: Node of the network.
        data: Node of the `LightningDataModule`.
        num_classes: Classes of the data set; None where targets are not classes.
        trainer: Arguments of Lightning's `Trainer`.
        optimizer: Node of a partial torch optimizer.
        scheduler: Node of a partial learning-rate schedule, or None.
        off_array: Names of layers that do not run on the array.
        loss: Node of the loss; None is cross-entropy.
        metric: Node of a torchmetrics metric; None is accuracy.
        recipe: Frozen layers, learning rates by layer, mode of batch normalisation.
        channels_last: Keep images and convolutions in memory with channels innermost.
        split_hash: Of the samples in each split, where the data module tells it.
    """

    model: Node
    data: Node
    num_classes: int | None
    trainer: Mapping[str, Any]
    optimizer: Node
    scheduler: Node | None = None
    off_array: tuple[str, ...] = ()
    loss: Node | None = None
    metric: Node | None = None
    recipe: Recipe = PLAIN_RECIPE
    channels_last: bool = False
    split_hash: str | None = None


@dataclass(frozen=True)
class TrainingJob:
    """Train for exactly `amount_steps` optimizer steps.

    Args:
        setup: See `Setup`.
        seed: Of the weights (without `start`) and of the order of the samples.
        amount_steps: Optimizer steps; 0 trains nothing.
        eval_every_steps: Record the validation metric at 0 and every so many steps; 0 never.
        start: Stage and key of the stored weights to start from; None starts at random.
        checkpoint: A user's file to start from instead.
        array: The array, with `fault_map`.
        fault_map: Mask the network by this map; None trains it fault-free.
        keep_weights: Whether the result holds the trained weights.
    """

    setup: Setup
    seed: int
    amount_steps: int
    eval_every_steps: int = 0
    start: tuple[str, str] | None = None
    array: SystolicArray | None = None
    fault_map: FaultMap | None = None
    keep_weights: bool = True
    checkpoint: WeightFile | None = None

    @property
    def cost_steps(self) -> int:
        """Estimate the work, for a progress bar; an evaluation is worth about three steps."""
        every = self.eval_every_steps
        return self.amount_steps + (3 * (self.amount_steps // every + 1) if every else 0)


@dataclass(frozen=True)
class EvaluationJob:
    """Measure stored weights on validation and test under several fault maps.

    Args:
        setup: See `Setup`.
        start: Stage and key of the stored weights.
        array: The array of the fault maps.
        fault_maps: One measurement each; None measures the network fault-free.
    """

    setup: Setup
    start: tuple[str, str]
    array: SystolicArray
    fault_maps: tuple[FaultMap | None, ...]

    @property
    def cost_steps(self) -> int:
        """Estimate the work in training steps, for a progress bar."""
        return 6 * len(self.fault_maps)


def train(job: TrainingJob, store: Store, checkpoints: Checkpoints | None = None) -> Result:
    """Run a training job; with `checkpoints`, go on where an attempt before was cut off.

    Returns:
        Values `amount_steps` and `metric` (the curve, on validation), `elapsed_s`, and
        `diverged_steps`: where the loss or a weight stopped being finite, else None; the curve ends
        before that. And the weights of the plain model, unless it diverged.
    """
    begin = time.perf_counter()
    torch.manual_seed(job.seed)
    module = _build_module(job.setup, store, job.start, job.checkpoint)
    if job.fault_map is not None and job.array is not None:
        mask_model(module.model, job.fault_map, job.array, job.setup.off_array)
    module.guarded = True
    curve = CurveRecorder()
    callbacks: list[pl.Callback] = [SameDraws(), MaskGuard()]
    data, resume_from = instantiate(job.setup.data), None
    if checkpoints and can_resume(data, processes=job.setup.trainer.get("devices", 1)):
        make_resumable(data)
        resume_from = checkpoints.latest()
        callbacks.append(Checkpointer(checkpoints, job.eval_every_steps, begin))
    trainer = build_trainer(job, [curve, *callbacks])
    if job.eval_every_steps and not resume_from:
        trainer.validate(module, data, verbose=False)
    torch.manual_seed(job.seed)  # what training draws depends on nothing that came before
    diverged_steps = None
    try:
        if job.amount_steps:
            trainer.fit(module, data, ckpt_path=resume_from, weights_only=True)
        _check_grid(job, curve.amount_steps)
    except DivergedError:
        diverged_steps = trainer.global_step
    earlier_s = sum(c.earlier_s for c in callbacks if isinstance(c, Checkpointer))
    values = {
        "amount_steps": curve.amount_steps,
        "metric": curve.metric,
        "elapsed_s": earlier_s + time.perf_counter() - begin,
        "diverged_steps": diverged_steps,
    }
    keep = job.keep_weights and diverged_steps is None
    return Result(values, _plain_weights(module.model) if keep else None)


def _check_grid(job: TrainingJob, amount_steps: list[int]) -> None:
    """Refuse a curve that was not recorded exactly where it says."""
    every = job.eval_every_steps
    expected = list(range(0, job.amount_steps + 1, every)) if every else []
    if amount_steps != expected:
        raise EfatError(
            f"training: the metric was recorded at steps {amount_steps}, not at {expected}; the "
            "batches of an epoch must be a multiple of trainer.accumulate_grad_batches"
        )


def evaluate(job: EvaluationJob, store: Store) -> Result:
    """Run an evaluation job.

    Returns:
        Values `val` and `test`: the metric, one a fault map; and `elapsed_s`.
    """
    begin = time.perf_counter()
    data = instantiate(job.setup.data)
    trainer = build_trainer(TrainingJob(job.setup, 0, 0), [])
    plain = _build_module(job.setup, store, job.start)
    val, test = [], []
    for fault_map in job.fault_maps:
        module = copy.deepcopy(plain)
        if fault_map is not None:
            mask_model(module.model, fault_map, job.array, job.setup.off_array)
        val.append(trainer.validate(module, data, verbose=False)[0]["val_metric"])
        test.append(trainer.test(module, data, verbose=False)[0]["test_metric"])
    return Result({"val": val, "test": test, "elapsed_s": time.perf_counter() - begin})


def build_trainer(job: TrainingJob, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Build the Trainer of one short job: no bar, no log, no checkpoint files of its own."""
    _quiet_lightning()
    batches_a_step = job.setup.trainer.get("accumulate_grad_batches", 1)
    return pl.Trainer(
        **{"devices": 1, **job.setup.trainer},
        max_steps=job.amount_steps,
        max_epochs=-1,
        val_check_interval=(job.eval_every_steps or 1) * batches_a_step,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if job.eval_every_steps or not job.amount_steps else 0,
        num_sanity_val_steps=0,
        inference_mode=False,  # its tensors would live on in metrics and in data sets kept
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )


def load_model(setup: Setup, store: Store, start: tuple[str, str] | None) -> nn.Module:
    """Build the plain network, with stored weights if `start` names some."""
    model: nn.Module = instantiate(setup.model)
    if start is not None:
        model.load_state_dict(store.weights(*start))
    return model


def training_batches(setup: Setup, seed: int) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    """Return one pass over the training split, in the order that `seed` gives."""
    data = instantiate(setup.data)
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(seed)
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]] = data.train_dataloader()
    return batches


def _build_module(
    setup: Setup,
    store: Store,
    start: tuple[str, str] | None,
    checkpoint: WeightFile | None = None,
) -> FaultAwareModule:
    model = load_model(setup, store, start)
    if checkpoint is not None:
        checkpoint.load_into(model)
    if setup.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FaultAwareModule(
        model,
        setup.num_classes,
        instantiate(setup.optimizer),
        instantiate(setup.scheduler) if setup.scheduler else None,
        build_loss(setup),
        instantiate(setup.metric) if setup.metric else None,
        setup.recipe,
    )


def build_loss(setup: Setup) -> Loss:
    """Build the loss of (outputs, targets)."""
    loss: Loss = instantiate(setup.loss) if setup.loss else functional.cross_entropy
    return loss


def loss_of_outputs(setup: Setup) -> Loss:
    """Return the loss of what a bare network returns, before it is unwrapped."""
    loss = build_loss(setup)
    return lambda output, targets: loss(unwrap(output), targets)


def _plain_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the state dict: safetensors wants contiguous tensors that share no memory."""
    return {n: t.detach().cpu().clone().contiguous() for n, t in model.state_dict().items()}


def _quiet_lightning() -> None:
    """Keep one campaign from printing thousands of identical lines."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for text in (
        "The '\\w+_dataloader' does not have many workers",  # batches are cut in memory
        "The number of training batches",
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 on torch 2.13
    ):
        warnings.filterwarnings("ignore", text)
