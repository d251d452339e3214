"""What the records' scripts share: campaigns by efat's own command line, and what they write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.utils import instantiate
from rich.console import Console

from efat.campaign import Experiment
from efat.config import compose_jobs
from efat.config.build import build_experiment
from efat.engine import Progress, Store, UnitRunner
from experiments.records import Row, load


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
    progress = Progress(Console(quiet=True), {}, experiment.amounts.steps_per_epoch)
    return experiment, UnitRunner(store, executor, progress, cfg.checkpoint_every)


def run_command(folder: Path, *arguments: str) -> None:
    """Run `python -m efat.run ARGUMENTS` into a folder; finished units are found.

    The runs of a record share the store beside their folders.
    """
    where = [f"store={folder.parent / 'store'}", f"hydra.run.dir={folder}", "executor=serial"]
    subprocess.run([sys.executable, "-m", "efat.run", *arguments, *where], check=True)


def curve_rows(folder: Path, run: str) -> list[Row]:
    """Return the points of a run's curves, with the run's name before them."""
    return [{"run": run, **row} for row in load(folder / "curves.csv")]
