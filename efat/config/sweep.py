"""What became of the jobs of a command, whatever launcher ran them: exit status, one table."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from efat.io import Row, write_csv, write_json

STATUS = "status.json"
"""Exit status of a job, and why it failed; Hydra's launchers may run it in another process."""

_seen: list[int] = []


def note_status(folder: Path, status: int, problem: str) -> None:
    """Leave the exit status of a job in its folder; a full disk stops nothing here."""
    with contextlib.suppress(OSError):
        write_json(folder / STATUS, {"status": status, "problem": problem})


def forget_jobs() -> None:
    """Start a new command line."""
    _seen.clear()


def worst_status() -> int:
    """Return the highest exit status of the jobs that Hydra ran; 0 where it ran none."""
    return max(_seen, default=0)


def _status(job: Path) -> tuple[int, str]:
    """Read what a job left; one that left nothing did not come to its end."""
    try:
        left = json.loads((job / STATUS).read_text())
    except (OSError, ValueError):
        return 1, "ended without a status"
    return left["status"], left["problem"]


class ResultsTable(Callback):
    """Note exit statuses; write a sweep's `results.csv`: one row a job and strategy.

    A job without a `summary.json` (it failed, or stopped at an earlier stage) has one row, without
    results.
    """

    def on_run_end(self, config: DictConfig, **_: Any) -> None:
        _seen.append(_status(Path(config.hydra.runtime.output_dir))[0])

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = _job_folders(folder)
        _seen.extend(_status(job)[0] for job in jobs)
        rows = [row for job in jobs for row in _rows(job)]
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
    status, problem = _status(job)
    first = {
        "job": job.name,
        "overrides": " ".join(map(str, overrides)),
        "status": status,
        "problem": problem,
    }
    if not (job / "summary.json").exists():
        return [first]
    from efat.campaign.run_result import RunResult  # seconds to import: not for --help

    return [first | _cells(strategy) for strategy in RunResult.load(job).strategies]


def _cells(strategy: Any) -> Row:
    cost = {f"retraining_{name}": value for name, value in asdict(strategy.retraining).items()}
    names = ("pass_val", "pass_test", "mean_test", "worst_test")
    return {
        "strategy": strategy.name,
        "models": strategy.models,
        **cost,
        **{name: getattr(strategy, name) for name in names},
    }
