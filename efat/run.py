"""`python -m efat.run`: compose the configuration, check it, run it.

Exit status: 0 done; 1 the work ran and the answer is no (the constraint cannot be met, a worker
died); 2 bad input, before any work and before any file; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import hydra
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig

from efat.config import CONF
from efat.errors import EfatError, raise_problems
from efat.overrides import Draft, draft_jobs, name_jobs

if TYPE_CHECKING:  # seconds to import: not for --help
    from efat.experiment import Experiment

_statuses: list[int] = []
_checked: list[Experiment] = []
"""What the check built, for a lone job; the jobs of a sweep may be too large to keep them all."""


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def _job(cfg: DictConfig) -> None:
    """Run one of Hydra's jobs; one that fails does not stop the others of a sweep."""
    from efat.pipeline import run_job
    from efat.preflight import build_experiment
    from efat.terminal import print_problems

    try:
        _statuses.append(run_job(cfg, _checked.pop() if _checked else build_experiment(cfg)))
    except (EfatError, OSError) as error:  # a full disk, say; finished units are in the store
        print_problems(error if isinstance(error, EfatError) else EfatError(f"files: {error}"))
        _statuses.append(1)


def main() -> int:
    """Run the command line and return its exit status."""
    _statuses.clear()
    _checked.clear()
    try:
        _check(draft_jobs(sys.argv[1:]))
    except EfatError as error:
        from efat.terminal import print_problems

        print_problems(error)
        return 2
    try:
        _job()
    except KeyboardInterrupt:
        print("stopped; finished work is saved, so run the same command again", file=sys.stderr)  # noqa: T201
        return 130
    return max(_statuses, default=0)


def _check(drafts: list[Draft]) -> None:
    """Build every experiment once before Hydra makes a folder for the first.

    Raises:
        EfatError: All problems of all jobs.
    """
    if not drafts:
        return
    for draft in drafts if not any(draft.problems for draft in drafts) else ():
        with contextlib.suppress(HydraException):  # the check says what is wrong
            instantiate(draft.cfg.executor).start()  # workers import Lightning meanwhile
    from efat.preflight import build_experiment  # seconds to import: not for --help

    found: list[Sequence[str]] = []
    for draft in drafts:
        try:
            experiment = build_experiment(draft.cfg, draft.problems, draft.left_out)
            found.append(())
        except EfatError as error:  # noqa: PERF203 - one job at a time
            found.append(error.problems)
    raise_problems(name_jobs(drafts, found))
    if len(drafts) == 1:
        _checked.append(experiment)


if __name__ == "__main__":
    sys.exit(main())
