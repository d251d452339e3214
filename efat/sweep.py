"""One table over the jobs of a sweep, whatever launcher ran them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from efat.tables import Row, write_csv


class ResultsTable(Callback):
    """Write `results.csv` into the folder of a sweep: one row a job and strategy.

    A job without a `summary.json` (it failed, or stopped at an earlier stage) has one row, without
    results.
    """

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        rows = [row for job in _job_folders(folder) for row in _rows(job)]
        if rows:
            write_csv(folder / "results.csv", rows)
            print(f"\nresults of all jobs in {folder / 'results.csv'}")  # noqa: T201


def _job_folders(folder: Path) -> list[Path]:
    """List the jobs' folders, by number."""
    found = [path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _rows(job: Path) -> list[Row]:
    overrides = OmegaConf.to_container(OmegaConf.load(job / ".hydra/overrides.yaml")) or []
    assert isinstance(overrides, list)  # noqa: S101 - Hydra writes a list; this tells mypy
    first = {"job": job.name, "overrides": " ".join(map(str, overrides))}
    if not (job / "summary.json").exists():
        return [first]
    strategies = json.loads((job / "summary.json").read_text())["strategies"]
    return [first | _cells(strategy) for strategy in strategies]


def _cells(strategy: Row) -> Row:
    cost = {f"retraining_{name}": value for name, value in strategy["retraining"].items()}
    names = ("met_val", "met_test", "mean_test", "worst_test")
    return {
        "strategy": strategy["name"],
        "models": strategy["models"],
        **cost,
        **{name: strategy[name] for name in names},
    }
