"""`python -m efat.run`: compose the configuration, check it, run it.

Exit status: 0 done; 1 the work ran and the answer is no (the constraint cannot be met, a worker
died); 2 bad input, before any work and before any file; 130 stopped by Ctrl-C, 143 by SIGTERM.
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

import efat.config.help  # noqa: F401 - what --help lists
from efat.config import (
    CONF,
    ComposedJob,
    compose_sweep,
    forget_jobs,
    label_problems,
    note_status,
    worst_status,
)
from efat.config.schema import READING_STAGES
from efat.errors import EfatError, raise_problems

if TYPE_CHECKING:  # seconds to import: not for --help
    from efat.campaign import Experiment

_checked: list[Experiment] = []
"""What the check built, for a lone job; the jobs of a sweep may be too large to keep them all."""


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def _job(cfg: DictConfig) -> None:
    """Run one of Hydra's jobs; one that fails does not stop the others of a sweep."""
    from efat.config.build import build_experiment
    from efat.pipeline import run_job
    from efat.reporting.terminal.stages import print_problems

    status, problem = 1, ""
    try:
        status = run_job(cfg, _checked.pop() if _checked else build_experiment(cfg))
    except (EfatError, OSError) as error:  # a full disk, say; finished units are in the store
        problems = error if isinstance(error, EfatError) else EfatError(_explain(cfg, error))
        print_problems(problems)
        problem = str(problems)
    note_status(Path(HydraConfig.get().runtime.output_dir), status, problem)


def main() -> int:
    """Run the command line and return its exit status; a signal to stop ends it cleanly."""
    with _stoppable() as stopped_by:
        try:
            return _run_command_line()
        except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns one into the other
            if isinstance(stop, SystemExit) and not stopped_by:
                raise
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # nothing is left to stop
            again = shlex.join(["python", "-m", "efat.run", *sys.argv[1:]])
            print(f"stopped; finished work is saved, to go on: {again}", file=sys.stderr)  # noqa: T201
            return 128 + (stopped_by or [signal.SIGINT])[0]


def _run_command_line() -> int:
    _checked.clear()
    forget_jobs()
    if not sys.argv[1:]:
        sys.argv.append("--help")  # a bare command starts no campaign
    try:
        drafts = compose_sweep(sys.argv[1:])
        if _reads_runs(drafts):
            return _read_runs(drafts)
        _check(drafts)
    except EfatError as error:
        from efat.reporting.terminal.stages import print_problems

        print_problems(error)
        return 2
    if drafts and all(draft.cfg.stage == "status" for draft in drafts):
        return _print_status(drafts)
    _job()
    return worst_status()


def _reads_runs(drafts: list[ComposedJob]) -> bool:
    """Tell whether these jobs compute nothing; such jobs stand alone.

    Raises:
        EfatError: What is wrong with the command line, or a sweep that mixes them with others.
    """
    reading = [draft.cfg.stage in READING_STAGES for draft in drafts]
    if not any(reading):
        if any(draft.cfg.runs for draft in drafts):
            raise EfatError("runs: only stage=report and stage=compare use it; leave it out")
        return False
    raise_problems(label_problems(drafts, [draft.problems for draft in drafts]))
    if len(drafts) > 1:
        raise EfatError(
            f"stage: {', '.join(READING_STAGES)} cannot be part of a sweep; run them alone"
        )
    return True


def _read_runs(drafts: list[ComposedJob]) -> int:
    """Write the pages of finished runs; without Hydra, which would make a folder."""
    from efat.pipeline import compare, set_up_dashboard, write_reports

    stages = {"report": write_reports, "compare": compare, "dashboard": set_up_dashboard}
    for draft in drafts:
        stages[draft.cfg.stage](draft.cfg)
    return 0


def _print_status(drafts: list[ComposedJob]) -> int:
    """Print what there is of every job; without Hydra, which would make folders."""
    from efat.config.build import build_experiment
    from efat.pipeline import print_status
    from efat.reporting.terminal.stages import print_problems

    answer = 0
    for draft in drafts:
        try:
            print_status(draft.cfg, _checked.pop() if _checked else build_experiment(draft.cfg))
        except EfatError as error:  # noqa: PERF203 - no plan keeps the rules, say
            print_problems(error)
            answer = 1
    return answer


@contextlib.contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Turn SIGINT and SIGTERM into a `KeyboardInterrupt`; yields the signals that came."""
    came: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(cfg: DictConfig, error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (
        f"files: {error}; no file is half-written, and what was finished is in {cfg.store}: once "
        f"{'there is room' if full else 'that is mended'}, the same command goes on from there"
    )


def _check(drafts: list[ComposedJob]) -> None:
    """Build every experiment once before Hydra makes a folder for the first.

    Raises:
        EfatError: All problems of all jobs.
    """
    if not drafts:
        return
    for draft in drafts if not any(draft.problems for draft in drafts) else ():
        if draft.cfg.stage in ("status", "fleet"):
            continue
        with contextlib.suppress(HydraException):  # the check says what is wrong
            instantiate(draft.cfg.executor).start()  # workers import Lightning meanwhile
    from efat.config.build import build_experiment  # seconds to import: not for --help

    found: list[Sequence[str]] = []
    stages = {draft.cfg.stage for draft in drafts}
    if "status" in stages and len(stages) > 1:
        raise EfatError(f"stage: {', '.join(sorted(stages))} given; status cannot share a sweep")
    for draft in drafts:
        try:
            experiment = build_experiment(draft.cfg, draft.problems, draft.left_out)
            found.append(())
        except EfatError as error:  # noqa: PERF203 - one job at a time
            found.append(error.problems)
    raise_problems(label_problems(drafts, found))
    if len(drafts) == 1:
        _checked.append(experiment)


if __name__ == "__main__":
    sys.exit(main())
