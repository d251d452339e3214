"""What study scripts share: an experiment and its campaign, from efat's own command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.utils import instantiate
from rich.console import Console

from efat.campaign import Experiment
from efat.config import compose_jobs
from efat.config.build import build_experiment
from efat.engine import Progress, Store, UnitRunner


def open_study(arguments: Sequence[str]) -> tuple[Experiment, UnitRunner]:
    """Build and check what `python -m efat.run ARGUMENTS` would run; finished units are found.

    Args:
        arguments: As on the command line: `+experiment=NAME key=value ...`.

    Raises:
        EfatError: All problems of the configuration.
    """
    [cfg] = compose_jobs(arguments)
    experiment, store = build_experiment(cfg), Store(Path(cfg.store))
    store.open()
    executor = instantiate(cfg.executor)
    executor.start()
    return experiment, UnitRunner(
        store,
        executor,
        Progress(Console(), {}, experiment.amounts.steps_per_epoch),
        cfg.checkpoint_every,
    )
