"""Build the network, its data and its task, and pass some samples through them once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy

from efat.config.validation import ErrorCollector, build_part
from efat.errors import EfatError
from efat.nn.masking import mapped_layers
from efat.resilience import Metric
from efat.training import (
    Factory,
    FineTuneOptions,
    PretrainedWeights,
    TrainSpec,
    build_loss,
    unwrap,
)

TRIED = 8
"""Samples that are passed through the network before any work."""


@dataclass(frozen=True)
class Workload:
    """Network, data and task of all trainings; a part is None where it could not be built.

    Args:
        network: With random weights.
        data: Set up for `fit`.
        outputs: Width of the network's output: classes, where targets are classes.
        metric: The metric that the constraint is about.
        checkpoint: The baseline's weights, if it is not to be trained.
        retraining: How retraining differs from plain training.
    """

    network: nn.Module | None
    data: pl.LightningDataModule | None
    outputs: int | None
    metric: Metric | None
    checkpoint: PretrainedWeights | None
    retraining: FineTuneOptions

    def setup(self, cfg: DictConfig, training: DictConfig) -> TrainSpec:
        """Describe training it; `training` is the node of the baseline's or of retraining."""

        def plain(node: DictConfig) -> Any:
            return OmegaConf.to_container(node, resolve=True)

        def factory(node: DictConfig) -> Factory:
            return Factory.from_node(plain(node))

        def optional(node: DictConfig | None) -> Factory | None:
            return factory(node) if isinstance(node, DictConfig) else None

        trainer = plain(cfg.trainer)
        return TrainSpec(
            model=factory(cfg.model),
            data=factory(cfg.data),
            num_classes=self.outputs,
            optimizer=factory(training.optimizer),
            scheduler=optional(training.scheduler),
            off_array=tuple(cfg.array.off_array),
            loss=optional(cfg.task.loss),
            metric=Factory.from_node(metric_node(cfg, self.outputs)),
            channels_last=trainer.pop("channels_last"),
            trainer=trainer,
            finetune=self.retraining if training is cfg.training else FineTuneOptions(),
            split_hash=getattr(self.data, "split_hash", None),
        )


def build_workload(cfg: DictConfig, errors: ErrorCollector) -> Workload:
    """Build all parts and pass some samples through them; what could not be built is None."""
    model_valid, both_valid = errors.is_valid("model"), errors.is_valid("model", "data")
    network = errors.try_build("model", lambda: build_part(cfg.model))
    if network and model_valid:
        errors.try_build("model", lambda: mapped_layers(network, tuple(cfg.array.off_array)))
    data = errors.try_build("data", lambda: _load_data(cfg))
    checkpoint = errors.try_build(
        "baseline.checkpoint", lambda: _checkpoint(cfg, network if model_valid else None)
    )
    retraining = errors.try_build(
        "training", lambda: _retraining(cfg, network if model_valid else None)
    )
    outputs = None
    if network and data and both_valid:
        outputs = errors.try_build("model", lambda: _outputs(network, data))
    metric = errors.try_build("task", lambda: build_metric(cfg, outputs))
    workload = Workload(network, data, outputs, metric, checkpoint, retraining or FineTuneOptions())
    if network and data and metric and errors.is_valid("task", "training", "model", "data"):
        setup = workload.setup(cfg, cfg.training)
        errors.try_build("task", lambda: try_task(setup, network, data, TRIED))
    return workload


def _load_data(cfg: DictConfig) -> pl.LightningDataModule:
    data: pl.LightningDataModule = build_part(cfg.data)
    data.prepare_data()
    data.setup("fit")
    if len(data.train_dataloader()) == 0:
        raise EfatError("data.batch_size: larger than the training split; use a smaller one")
    return data


def _outputs(model: nn.Module, data: pl.LightningDataModule) -> int:
    """Pass one batch through the network; return the width of its output (axis 1)."""
    inputs, targets = next(iter(data.train_dataloader()))
    shape = tuple(inputs.shape[1:])
    try:
        with torch.no_grad():
            output = unwrap(model.eval()(inputs[:TRIED]))
    except RuntimeError as error:
        raise EfatError(
            f"model: does not take the data's inputs of shape {shape} "
            f"({str(error).splitlines()[0]}); set model.in_channels or model.sizes, or use other "
            "data"
        ) from None
    if output.ndim < 2 or len(output) != len(targets[:TRIED]):
        raise EfatError(
            f"model: gives an output of shape {tuple(output.shape)} for "
            f"{len(targets[:TRIED])} samples; [batch, outputs, ...] is needed"
        )
    width, classes = int(output.shape[1]), _classes(targets, data)
    if classes is not None and classes > width:
        raise EfatError(
            f"model: has {width} outputs, but the data has labels up to {classes - 1}; set "
            f"model.num_classes={classes} (or what the model calls it), or correct the labels"
        )
    return width


def _classes(targets: torch.Tensor, data: pl.LightningDataModule) -> int | None:
    """Count classes: of all splits where the data module tells, else of one batch."""
    if targets.is_floating_point():
        return None
    classes = getattr(data, "num_classes", None)
    return int(classes) if classes is not None else int(targets.max()) + 1


def _checkpoint(cfg: DictConfig, network: nn.Module | None) -> PretrainedWeights | None:
    """Look at the baseline's file, and load it into a copy of the network once."""
    if cfg.baseline.checkpoint is None:
        return None
    checkpoint = PretrainedWeights.of(cfg.baseline.checkpoint)
    if network is not None:
        checkpoint.load_into(copy.deepcopy(network))
    return checkpoint


def _retraining(cfg: DictConfig, network: nn.Module | None) -> FineTuneOptions:
    part = cfg.training
    retraining = FineTuneOptions(tuple(part.frozen), dict(part.lr_factors), part.batch_norm)
    if network is not None:
        retraining.check(network)
    return retraining


def metric_node(cfg: DictConfig, outputs: int | None) -> dict[str, Any]:
    """Return the node of the metric, `num_classes` filled in where it is null."""
    node: Any = OmegaConf.to_container(cfg.task.metric, resolve=True)
    if "num_classes" in node and node["num_classes"] is None:
        node["num_classes"] = outputs or 2  # outputs is None only where the model failed already
    return dict(node)


def build_metric(cfg: DictConfig, outputs: int | None) -> Metric:
    """Describe the task's metric.

    Raises:
        EfatError: It is no torchmetrics metric, or does not say which direction is better.
    """
    built = instantiate(metric_node(cfg, outputs))
    if not isinstance(built, torchmetrics.Metric):
        raise EfatError(
            f"task.metric: {type(built).__name__} given; a metric of torchmetrics is needed"
        )
    if built.higher_is_better is None:
        raise EfatError(
            f"task.metric: {type(built).__name__} does not say whether higher is better; use "
            "another, or a subclass that sets higher_is_better"
        )
    low, high = built.plot_lower_bound, built.plot_upper_bound
    return Metric(cfg.task.name, bool(built.higher_is_better), low, high, is_proportion(built))


def is_proportion(metric: torchmetrics.Metric) -> bool:
    """Return whether a metric is the share of correct samples (top-k included)."""
    if isinstance(metric, BinaryAccuracy):
        return True
    return isinstance(metric, MulticlassAccuracy) and metric.average == "micro"


def try_task(
    setup: TrainSpec, network: nn.Module, data: pl.LightningDataModule, samples: int
) -> None:
    """Compute loss and metric of some samples.

    Raises:
        EfatError: They do not fit the outputs, or give no single finite number.
    """
    inputs, targets = (part[:samples] for part in next(iter(data.val_dataloader())))
    with torch.no_grad():
        output = unwrap(network.eval()(inputs))
    loss = _attempt("loss", lambda: build_loss(setup)(output, targets), output, targets)
    metric: Any = setup.metric
    value = _attempt("metric", lambda: metric()(output, targets), output, targets)
    for name, result in (("loss", loss), ("metric", value)):
        if not isinstance(result, torch.Tensor) or result.numel() != 1:
            raise EfatError(
                f"task.{name}: gives {tuple(getattr(result, 'shape', ()))} values for a batch; one "
                "number is needed (reduction=mean, average=micro or macro)"
            )


def _attempt(name: str, compute: Any, output: torch.Tensor, targets: torch.Tensor) -> Any:
    try:
        return compute()
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise EfatError(
            f"task.{name}: does not fit outputs of shape {tuple(output.shape)} and targets of "
            f"shape {tuple(targets.shape)}, {targets.dtype} ({str(error).splitlines()[0]}); choose "
            "another task"
        ) from None
