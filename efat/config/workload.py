"""The network, its data and its task: what a fault map's retraining is measured on, tried once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from efat.config.tasks import build_metric, metric_node, try_task
from efat.config.validation import ErrorCollector, build
from efat.errors import EfatError
from efat.nn.masking import mapped_layers
from efat.resilience import Metric
from efat.training import Factory, FineTuneOptions, PretrainedWeights, TrainSpec, unwrap

TRIED = 8
"""Samples that are passed through the network before any work."""


@dataclass(frozen=True)
class Workload:
    """What is trained, on what; a part is None where it could not be built.

    Args:
        network: With random weights.
        data: Set up for `fit`.
        outputs: Width of the network's output: classes, where targets are classes.
        metric: What the constraint is about.
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


def build_workload(cfg: DictConfig, problems: ErrorCollector) -> Workload:
    """Build all parts and pass some samples through them; what could not be built is None."""
    model_known, both_known = problems.is_valid("model"), problems.is_valid("model", "data")
    network = problems.try_build("model", lambda: build(cfg.model))
    if network and model_known:
        problems.try_build("model", lambda: mapped_layers(network, tuple(cfg.array.off_array)))
    data = problems.try_build("data", lambda: _load_data(cfg))
    checkpoint = problems.try_build(
        "baseline.checkpoint", lambda: _checkpoint(cfg, network if model_known else None)
    )
    retraining = problems.try_build(
        "training", lambda: _retraining(cfg, network if model_known else None)
    )
    outputs = None
    if network and data and both_known:
        outputs = problems.try_build("model", lambda: _outputs(network, data))
    metric = problems.try_build("task", lambda: build_metric(cfg, outputs))
    workload = Workload(network, data, outputs, metric, checkpoint, retraining or FineTuneOptions())
    if network and data and metric and problems.is_valid("task", "training", "model", "data"):
        setup = workload.setup(cfg, cfg.training)
        problems.try_build("task", lambda: try_task(setup, network, data, TRIED))
    return workload


def _load_data(cfg: DictConfig) -> pl.LightningDataModule:
    data: pl.LightningDataModule = build(cfg.data)
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
            f"model.num_classes={classes} (or what the model calls it), or mend the labels"
        )
    return width


def _classes(targets: torch.Tensor, data: pl.LightningDataModule) -> int | None:
    """Count classes: of all splits where the data module tells, else of one batch."""
    if targets.is_floating_point():
        return None
    is_valid = getattr(data, "num_classes", None)
    return int(is_valid) if is_valid is not None else int(targets.max()) + 1


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
