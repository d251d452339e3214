"""Train or evaluate one masked network: one job in, one result out.

Only this module builds a Lightning `Trainer`.
"""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import PassThroughProfiler
from torch import nn
from torch.nn import functional

from efat.engine import Result, Store
from efat.errors import EfatError
from efat.hardware import FaultMap, Placement
from efat.nn.masking import mask_model
from efat.nn.repair import BatchNorm, placement_header, placement_of, recalibrate
from efat.training.callbacks import (
    CheckMasksAndDivergence,
    CurveRecorder,
    KeepFirstEvaluation,
    PreserveRngState,
    ProgressiveFaults,
    StopWhenMet,
    ValidateAtSteps,
)
from efat.training.checkpoints import Checkpointer, Checkpoints, can_resume, make_resumable
from efat.training.finetune import DivergedError
from efat.training.hardening import HardeningModule
from efat.training.jobs import EvaluationJob, TrainingJob, TrainSpec
from efat.training.loading import calibration_batches, load_model
from efat.training.module import FaultAwareModule, Loss, unwrap
from efat.training.repair_step import BATCH, apply_repair

NORMALISED_BY = 8192
"""Training samples, at the most, for BatchNorm statistics without faults."""


def train(job: TrainingJob, store: Store, checkpoints: tuple[Path, int] | None = None) -> Result:
    """Run a training job; with `checkpoints`, resume an interrupted attempt.

    Args:
        job: The training.
        store: Holds the weights that it starts from.
        checkpoints: Folder of its checkpoints, and steps between two.

    Returns:
        Values `amount_steps` and `metric` (the curve, on validation), `elapsed_s`, and
        `diverged_steps`: the step at which the loss or a weight became infinite or NaN, else None;
        the curve ends before it. With a repair, `repair_s` is its part of `elapsed_s`. And the
        weights of the plain model with their placement, unless it diverged. If a training `until`
        a constraint is met diverged after its first evaluation, the weights are those of that
        evaluation, at `kept_steps`.
    """
    begin = time.perf_counter()
    torch.manual_seed(job.seed)
    model, placement = _start(job, store)
    repaired_s = time.perf_counter() - begin
    module = _training_module(job, model)
    module.check_masks = True
    curve, injector = CurveRecorder(), _injector(job, module.model)
    callbacks: list[pl.Callback] = [*injector, PreserveRngState(), CheckMasksAndDivergence()]
    if job.until:
        callbacks += [ValidateAtSteps(job.evaluates_at), StopWhenMet(curve, job.until.met)]
    first = KeepFirstEvaluation(job.first_evaluation, lambda: _plain_weights(module.model))
    if job.until and job.keep_weights:
        callbacks.append(first)
    data, resume_from = job.setup.data(), None
    if checkpoints and can_resume(data, processes=job.setup.trainer.get("devices", 1)):
        make_resumable(data)
        saved = Checkpoints(*checkpoints)
        resume_from = saved.latest()
        callbacks.append(Checkpointer(saved, job.evaluates_at, begin))
    trainer = build_trainer(
        job.setup.trainer, [curve, *callbacks], job.amount_steps, job.eval_every_steps
    )
    if job.evaluates_at(0) and not resume_from:
        trainer.validate(module, data, verbose=False)
    torch.manual_seed(job.seed)  # the random numbers of training depend on the seed alone
    diverged_steps = None
    try:
        if job.amount_steps and not (job.until and job.until.met(curve.metric)):
            trainer.fit(module, data, ckpt_path=resume_from, weights_only=True)
        _check_grid(job, curve.amount_steps)
        for each in injector:
            each.finish()
    except DivergedError:
        diverged_steps = trainer.global_step
    earlier_s = sum(c.earlier_s for c in callbacks if isinstance(c, Checkpointer))
    values = {
        "amount_steps": curve.amount_steps,
        "metric": curve.metric,
        "elapsed_s": earlier_s + time.perf_counter() - begin,
        "diverged_steps": diverged_steps,
    }
    if job.repair:
        values["repair_s"] = repaired_s
    weights = _plain_weights(module.model) if job.keep_weights else None
    if diverged_steps is not None:
        weights = first.kept
        values |= {"kept_steps": first.step} if weights else {}
    return Result(values, weights, header=placement_header(placement))


def harden(job: TrainingJob, store: Store, checkpoints: tuple[Path, int] | None = None) -> Result:
    """Run a hardening job; BatchNorm statistics are then those without faults.

    Returns:
        As `train` does; the curve is one point, the final metric without faults.
    """
    begin, result = time.perf_counter(), train(job, store, checkpoints)
    if result.weights is None:
        return result
    model = load_model(job.setup, store, None)
    model.load_state_dict(result.weights)
    if any(isinstance(m, BatchNorm) and m.running_mean is not None for m in model.modules()):
        inputs = torch.cat(list(calibration_batches(job.setup, NORMALISED_BY, job.seed)))
        model = recalibrate(model, inputs.split(BATCH))
    trainer = build_trainer(job.setup.trainer)
    module = _build_module(job.setup, model)
    metric = trainer.validate(module, job.setup.data(), verbose=False)[0]["val_metric"]
    measured = {"amount_steps": [job.amount_steps], "metric": [metric]}
    earlier_s = result.values["elapsed_s"]
    elapsed_s = earlier_s + time.perf_counter() - begin
    return Result({**result.values, **measured, "elapsed_s": elapsed_s}, _plain_weights(model))


def _start(job: TrainingJob, store: Store) -> tuple[nn.Module, Placement | None]:
    """Return the job's network, masked and repaired, and its placement."""
    model = load_model(job.setup, store, job.start)
    if job.checkpoint is not None:
        job.checkpoint.load_into(model)
    if job.fault_map is None or job.array is None:
        return model, None
    if job.repair:
        repaired, placement = apply_repair(
            model, job.fault_map, job.array, job.repair, job.setup, store
        )
        return repaired.train(), placement  # a newly built network is in this mode
    first = job.injection.fault_map(job.fault_map, 1) if job.injection else job.fault_map
    return mask_model(model, first, job.array, job.setup.off_array), None


def _injector(job: TrainingJob, model: nn.Module) -> list[ProgressiveFaults]:
    """Return the callback that adds faults during the training, if the job has one."""
    fault_map, array = job.fault_map, job.array
    if job.injection is None or fault_map is None or array is None:
        return []

    def mask(faults: FaultMap) -> None:
        mask_model(model, faults, array, job.setup.off_array)

    return [ProgressiveFaults(model, mask, fault_map, job.injection)]


def _check_grid(job: TrainingJob, amount_steps: list[int]) -> None:
    """Refuse a curve that was not recorded at exactly the expected steps."""
    every, last = job.eval_every_steps, job.amount_steps
    if job.until and amount_steps:
        last = amount_steps[-1]
    expected = list(range(job.first_evaluation, last + 1, every)) if every else []
    if amount_steps != expected:
        raise EfatError(
            f"training: the metric was recorded at steps {amount_steps}, not at {expected}; the "
            "batches of an epoch must be a multiple of trainer.accumulate_grad_batches"
        )


def evaluate(job: EvaluationJob, store: Store) -> Result:
    """Run an evaluation job.

    Returns:
        Values `val` and `test`: the metric under each fault map; `test_samples`; and `elapsed_s`.
    """
    begin = time.perf_counter()
    data = job.setup.data()
    trainer = build_trainer(job.setup.trainer)
    plain = _build_module(job.setup, load_model(job.setup, store, job.start))
    placement = placement_of(store.header(*job.start))
    val, test = [], []
    for fault_map in job.fault_maps:
        module = copy.deepcopy(plain)
        if fault_map is not None:
            mask_model(module.model, fault_map, job.array, job.setup.off_array, placement)
        val.append(trainer.validate(module, data, verbose=False)[0]["val_metric"])
        test.append(trainer.test(module, data, verbose=False)[0]["test_metric"])
    values = {"val": val, "test": test, "test_samples": sum(module.tested)}
    return Result({**values, "elapsed_s": time.perf_counter() - begin})


class Unprofiled(PassThroughProfiler):
    """Profile nothing, with one context for all actions; Lightning makes 35 per step."""

    CONTEXT = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return self.CONTEXT


def build_trainer(
    arguments: Mapping[str, Any],
    callbacks: Sequence[pl.Callback] = (),
    amount_steps: int = 0,
    eval_every_steps: int = 0,
) -> pl.Trainer:
    """Build the Trainer of one short job: no bar, no log, no checkpoint files of its own.

    Args:
        arguments: The user's, for Lightning's `Trainer`.
        callbacks: In the order in which they are called.
        amount_steps: Optimizer steps.
        eval_every_steps: Optimizer steps between two validations; 0: none while it trains.
    """
    _quiet_lightning()
    batches_per_step = arguments.get("accumulate_grad_batches", 1)
    return pl.Trainer(
        **{"devices": 1, "profiler": Unprofiled(), **arguments},
        max_steps=amount_steps,
        max_epochs=-1,
        val_check_interval=(eval_every_steps or 1) * batches_per_step,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if eval_every_steps or not amount_steps else 0,
        num_sanity_val_steps=0,
        inference_mode=False,  # its tensors would stay in metrics and in cached data sets
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )


def _build_module(
    setup: TrainSpec, model: nn.Module, kind: type[FaultAwareModule] = FaultAwareModule
) -> FaultAwareModule:
    if setup.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return kind(
        model,
        setup.num_classes,
        setup.optimizer.value(),
        setup.scheduler.value() if setup.scheduler else None,
        build_loss(setup),
        setup.metric() if setup.metric else None,
        setup.finetune,
    )


def build_loss(setup: TrainSpec) -> Loss:
    """Build the loss of (outputs, targets)."""
    loss: Loss = setup.loss.value() if setup.loss else functional.cross_entropy
    return loss


def loss_of_outputs(setup: TrainSpec) -> Loss:
    """Build the loss of (output of the bare network, targets)."""
    loss = build_loss(setup)
    return lambda output, targets: loss(unwrap(output), targets)


def _training_module(job: TrainingJob, model: nn.Module) -> FaultAwareModule:
    if job.hardening is None or job.array is None:
        return _build_module(job.setup, model)
    module = _build_module(job.setup, model, HardeningModule)
    assert isinstance(module, HardeningModule)  # noqa: S101 - for mypy
    return module.harden(job, job.array)


def _plain_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the state dict; safetensors needs contiguous tensors that share no memory."""
    return {n: t.detach().cpu().clone().contiguous() for n, t in model.state_dict().items()}


def _quiet_lightning() -> None:
    """Suppress lines that each of thousands of trainings would print."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for text in (
        "The '\\w+_dataloader' does not have many workers",  # batches are cut in memory
        "The number of training batches",
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 on torch 2.13
    ):
        warnings.filterwarnings("ignore", text)
