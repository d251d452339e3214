"""Options of retraining beside optimizer and schedule: layers that are trained, and their rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, Literal

import torch
from torch import nn

from efat.errors import EfatError, checked, raise_problems

BATCH_NORM = nn.modules.batchnorm._BatchNorm


@checked("training")
class FineTuneOptions:
    """Differences from plain training; none by default.

    Args:
        frozen: Names of layers that are not trained; a name covers what is inside it.
        lr_factors: Learning rate over the optimizer's, by name of a layer; the longest name that
            covers a parameter counts.
        batch_norm: `train` lets batch statistics normalise and update the running ones; `eval`
            leaves the baseline's as they are.

    Raises:
        EfatError: All wrong values at once.
    """

    frozen: tuple[str, ...] = ()
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    batch_norm: Literal["train", "eval"] = "train"

    def problems(self) -> Iterator[str]:
        """Check the rates, each with the name of its layer."""
        for name, factor in self.lr_factors.items():
            if not 0 <= factor < float("inf"):
                yield f"training.lr_factors: {name}: {factor!r} given; a number >= 0 is needed"

    def check(self, model: nn.Module) -> None:
        """Raise `EfatError` naming every layer that `model` lacks, or if all are frozen."""
        names = [name for name, _ in model.named_modules()]
        problems = [
            f"training.{key}: {name!r} given; the model has no such layer; its layers: "
            f"{', '.join(names[1:12])}{', ...' if len(names) > 12 else ''}"
            for key, layers in (("frozen", self.frozen), ("lr_factors", self.lr_factors))
            for name in layers
            if name not in names
        ]
        if not problems and all(_covering(name, self.frozen) for name, _ in _parameters(model)):
            problems.append("training.frozen: covers every layer; at least one must be trained")
        raise_problems(problems)

    def freeze(self, model: nn.Module) -> None:
        """Turn the gradients of frozen layers off."""
        for name, parameter in _parameters(model):
            if _covering(name, self.frozen):
                parameter.requires_grad_(False)

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Return the trained parameters, one group per learning rate; see `scale_rates`."""
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in _parameters(model):
            if parameter.requires_grad:
                factor = self.lr_factors.get(_covering(name, self.lr_factors) or "", 1.0)
                groups.setdefault(factor, []).append(parameter)
        return [{"params": params, "lr_factor": factor} for factor, params in groups.items()]

    def set_modes(self, model: nn.Module) -> None:
        """Put the model in training mode, batch normalisation in `batch_norm` mode."""
        model.train()
        for module in model.modules():
            if self.batch_norm == "eval" and isinstance(module, BATCH_NORM):
                module.eval()


def scale_rates(optimizer: torch.optim.Optimizer) -> None:
    """Multiply each group's learning rate by its `lr_factor`."""
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("lr_factor", 1.0)


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    yield from model.named_parameters()


def _covering(parameter: str, layers: Mapping[str, float] | tuple[str, ...]) -> str | None:
    """Return the longest of `layers` that holds `parameter`, if any does."""
    covering = [layer for layer in layers if parameter.startswith(f"{layer}.")]
    return max(covering, key=len, default=None)


class DivergedError(EfatError):
    """A training whose loss or weights are no longer finite."""
