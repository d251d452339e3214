"""Lightning's own loggers as trackers: CSV files, TensorBoard, MLflow and others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytorch_lightning.loggers import Logger

from efat.campaign.run_result import RunResult
from efat.reporting.tracking.base import RunInfo, Training, curve_points


class LightningTracker:
    """Give each training a logger of its own, and the results one more.

    Args:
        logger: A partial Lightning logger that takes `save_dir`, `name` and `version`.
        folder: Below the run's folder.
    """

    def __init__(self, logger: Callable[..., Logger], folder: str) -> None:
        self.logger, self.folder = logger, folder

    def begin(self, info: RunInfo) -> None:
        """Take note of the campaign."""
        self.info = info

    def train(self, training: Training) -> None:
        """Log the curve of a training."""
        logger = self._open(training.stage, training.key[:16])
        logger.log_hyperparams(dict(training.config))
        for point in curve_points(self.info, training):
            logger.log_metrics(point, step=int(point["steps"]))
        logger.finalize("success")

    def finish(self, run: RunResult | None) -> None:
        """Log what every strategy cost and achieved."""
        if run is None:
            return
        for strategy in run.strategies:
            logger = self._open("results", strategy.name)
            names = ("models", "pass_val", "pass_test", "mean_test", "worst_test")
            metrics = {name: float(getattr(strategy, name)) for name in names}
            logger.log_metrics(metrics | {"epochs": strategy.retraining.epochs}, step=0)
            logger.finalize("success")

    def _open(self, name: str, version: str) -> Logger:
        target: Path = self.info.folder / self.folder
        return self.logger(save_dir=str(target), name=name, version=version)
