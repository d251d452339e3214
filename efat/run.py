"""`python -m efat.run`: compose the configuration, check it, run it.

Exit status: 0 done; 1 the work ran, but the constraint is not met or a worker died; 2 bad input,
before any work and before any file; 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import contextlib
import errno
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig

import efat.config.help  # noqa: F401 - the lists in --help
from efat.config import (
    CONF,
    ComposedJob,
    compose_sweep,
    forget_jobs,
    label_problems,
    note_exit_code,
    worst_exit_code,
)
from efat.config.schema import READING_STAGES
from efat.errors import EfatError, raise_problems

if TYPE_CHECKING:  # seconds to import: not for --help
    from efat.campaign import Experiment

_checked: list[Experiment] = []
"""The experiment that the check built, for a lone job; those of a sweep may be too large."""


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def _run_job(cfg: DictConfig) -> None:
    """Run one of Hydra's jobs; one that fails does not stop the others of a sweep."""
    from efat.config.build import build_experiment
    from efat.pipeline import run_job
    from efat.reporting.terminal.stages import print_problems

    exit_code, problem = 1, ""
    try:
        exit_code = run_job(cfg, _checked.pop() if _checked else build_experiment(cfg))
    except (EfatError, OSError) as error:  # a full disk, say; finished units are in the store
        problems = error if isinstance(error, EfatError) else EfatError(_explain(cfg, error))
        print_problems(problems)
        problem = str(problems)
    note_exit_code(Path(HydraConfig.get().runtime.output_dir), exit_code, problem)


def main() -> int:
    """Run the command line and return its exit status; a signal to stop ends it cleanly."""
    with _stoppable() as stopped_by:
        try:
            return _run_command_line()
        except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns one into the other
            if isinstance(stop, SystemExit) and not stopped_by:
                raise
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # nothing remains to stop
            again = shlex.join(["python", "-m", "efat.run", *sys.argv[1:]])
            print(f"stopped; finished work is saved, to go on: {again}", file=sys.stderr)  # noqa: T201
            return 128 + (stopped_by or [signal.SIGINT])[0]


def _run_command_line() -> int:
    _checked.clear()
    forget_jobs()
    if not sys.argv[1:]:
        sys.argv.append("--help")  # a bare command starts no campaign
    try:
        jobs = compose_sweep(sys.argv[1:])
        if _reads_runs(jobs):
            return _read_runs(jobs)
        _check(jobs)
    except EfatError as error:
        from efat.reporting.terminal.stages import print_problems

        print_problems(error)
        return 2
    if jobs and all(job.cfg.stage == "status" for job in jobs):
        return _print_status(jobs)
    _run_job()
    return worst_exit_code()


def _reads_runs(jobs: list[ComposedJob]) -> bool:
    """Return whether these jobs compute nothing; such jobs run alone.

    Raises:
        EfatError: Problems of the command line, or a sweep that mixes them with others.
    """
    reading = [job.cfg.stage in READING_STAGES for job in jobs]
    if not any(reading):
        if any(job.cfg.runs for job in jobs):
            raise EfatError("runs: only stage=report and stage=compare use it; leave it out")
        return False
    raise_problems(label_problems(jobs, [job.problems for job in jobs]))
    if len(jobs) > 1:
        raise EfatError(
            f"stage: {', '.join(READING_STAGES)} cannot be part of a sweep; run them alone"
        )
    return True


def _read_runs(jobs: list[ComposedJob]) -> int:
    """Write the pages of finished runs; without Hydra, which would make a folder."""
    from efat.pipeline import compare, set_up_dashboard, write_reports

    stages = {"report": write_reports, "compare": compare, "dashboard": set_up_dashboard}
    for job in jobs:
        stages[job.cfg.stage](job.cfg)
    return 0


def _print_status(jobs: list[ComposedJob]) -> int:
    """Print the state of every job; without Hydra, which would make folders."""
    from efat.config.build import build_experiment
    from efat.pipeline import print_status
    from efat.reporting.terminal.stages import print_problems

    exit_code = 0
    for job in jobs:
        try:
            print_status(job.cfg, _checked.pop() if _checked else build_experiment(job.cfg))
        except EfatError as error:  # noqa: PERF203 - no plan keeps the rules, say
            print_problems(error)
            exit_code = 1
    return exit_code


@contextlib.contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Turn SIGINT and SIGTERM into a `KeyboardInterrupt`; yield the signals received."""
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(cfg: DictConfig, error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (
        f"files: {error}; no file is half-written, and finished work is in {cfg.store}: "
        f"{'make room' if full else 'fix this'} and rerun the same command to continue"
    )


def _check(jobs: list[ComposedJob]) -> None:
    """Build every experiment once before Hydra makes a folder for the first.

    Raises:
        EfatError: All problems of all jobs.
    """
    if not jobs:
        return
    for job in jobs if not any(job.problems for job in jobs) else ():
        if job.cfg.stage in ("status", "fleet"):
            continue
        with contextlib.suppress(HydraException):  # the check names the problem
            instantiate(job.cfg.executor).start()  # workers import Lightning in the meantime
    from efat.config.build import build_experiment  # seconds to import: not for --help

    problems: list[Sequence[str]] = []
    stages = {job.cfg.stage for job in jobs}
    if "status" in stages and len(stages) > 1:
        raise EfatError(f"stage: {', '.join(sorted(stages))} given; status cannot share a sweep")
    for job in jobs:
        try:
            experiment = build_experiment(job.cfg, job.problems, job.invalid_keys)
            problems.append(())
        except EfatError as error:  # noqa: PERF203 - one job at a time
            problems.append(error.problems)
    raise_problems(label_problems(jobs, problems))
    if len(jobs) == 1:
        _checked.append(experiment)


if __name__ == "__main__":
    sys.exit(main())
