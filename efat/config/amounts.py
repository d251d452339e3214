"""From epochs, as configured, to whole optimizer steps."""

from __future__ import annotations

import pytorch_lightning as pl
from omegaconf import DictConfig

from efat.campaign import Amounts
from efat.config.workload import Workload
from efat.hardware import SystolicArray
from efat.seeds import derive
from efat.training import Recipe, TrainingJob


def build_hardening(
    cfg: DictConfig, workload: Workload, data: pl.LightningDataModule, array: SystolicArray
) -> TrainingJob:
    """Describe how the baseline is hardened; its weights are put in once they are there."""
    low, high = cfg.hardening.fault_rate
    return TrainingJob(
        workload.setup(cfg, cfg.hardening),
        derive(cfg.seed, "harden"),
        max(1, round(cfg.hardening.epochs * _steps_per_epoch(cfg, data))),
        array=array,
        hardening=(low, high),
    )


def _steps_per_epoch(cfg: DictConfig, data: pl.LightningDataModule) -> int:
    batches_a_step: int = cfg.trainer.accumulate_grad_batches * cfg.trainer.devices
    return max(1, len(data.train_dataloader()) // batches_a_step)


def build_amounts(cfg: DictConfig, data: pl.LightningDataModule, recipe: Recipe) -> Amounts:
    """Turn epochs into whole optimizer steps; the budget is a whole number of evaluations."""
    steps_per_epoch = _steps_per_epoch(cfg, data)
    every = max(1, round(cfg.training.eval_every_epochs * steps_per_epoch))
    points = max(1, round(cfg.training.budget_epochs * steps_per_epoch / every))
    points = points if recipe.retrains else 0
    batch = len(next(iter(data.train_dataloader()))[0])
    return Amounts(
        pretrain_steps=max(1, round(cfg.baseline.epochs * steps_per_epoch)),
        budget_steps=points * every,
        eval_every_steps=every,
        steps_per_epoch=steps_per_epoch,
        samples_per_step=batch * cfg.trainer.accumulate_grad_batches * cfg.trainer.devices,
    )
