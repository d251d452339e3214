"""Exit codes of the jobs of a command, whatever launcher ran them, and a sweep's results.csv."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from efat.io import Row, write_csv, write_json

EXIT_CODE = "exit_code.json"
"""Exit code of a job, and why it failed; Hydra's launchers may run it in another process."""

_exit_codes: list[int] = []


def note_exit_code(folder: Path, exit_code: int, problem: str) -> None:
    """Write the exit code of a job into its folder; a full disk stops nothing."""
    with contextlib.suppress(OSError):
        write_json(folder / EXIT_CODE, {"exit_code": exit_code, "problem": problem})


def forget_jobs() -> None:
    """Start a new command line."""
    _exit_codes.clear()


def worst_exit_code() -> int:
    """Return the highest exit code of the jobs that Hydra ran; 0 where it ran none."""
    return max(_exit_codes, default=0)


def _exit_code(job: Path) -> tuple[int, str]:
    """Return a job's exit code and problem; a job that wrote none was killed."""
    try:
        document = json.loads((job / EXIT_CODE).read_text())
    except (OSError, ValueError):
        return 1, "ended without an exit code"
    return document["exit_code"], document["problem"]


class ResultsTable(Callback):
    """Note exit codes; write a sweep's `results.csv`: one row per job and strategy.

    A job without a `summary.json` (it failed, or stopped at an earlier stage) has one row, without
    results.
    """

    def on_run_end(self, config: DictConfig, **_: Any) -> None:
        _exit_codes.append(_exit_code(Path(config.hydra.runtime.output_dir))[0])

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = _job_folders(folder)
        _exit_codes.extend(_exit_code(job)[0] for job in jobs)
        rows = [row for job in jobs for row in _rows(job)]
        if rows:
            write_csv(folder / "results.csv", rows)
            print(f"\nresults of all jobs in {folder / 'results.csv'}")  # noqa: T201


def _job_folders(folder: Path) -> list[Path]:
    """List the jobs' folders, by number."""
    jobs = [path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")]
    return sorted(jobs, key=lambda path: (len(path.name), path.name))


def _rows(job: Path) -> list[Row]:
    overrides = OmegaConf.to_container(OmegaConf.load(job / ".hydra/overrides.yaml")) or []
    assert isinstance(overrides, list)  # noqa: S101 - Hydra writes a list; this tells mypy
    exit_code, problem = _exit_code(job)
    first = {
        "job": job.name,
        "overrides": " ".join(map(str, overrides)),
        "exit_code": exit_code,
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
