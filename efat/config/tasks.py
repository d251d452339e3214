"""From the configuration of a task to its loss and metric, tried once."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy

from efat.errors import EfatError
from efat.resilience import Metric
from efat.training import TrainSpec, build_loss, unwrap


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
    return Metric(cfg.task.name, bool(built.higher_is_better), low, high, _is_proportion(built))


def _is_proportion(metric: torchmetrics.Metric) -> bool:
    """Tell whether a metric is the share of samples that are right (top-k included)."""
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
