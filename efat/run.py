"""`python -m efat.run`: compose the configuration, check it, run it.

Exit status: 0 done; 1 the work ran and the answer is no (the constraint cannot be met, a worker
died); 2 bad input, before any work and before any file; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import sys

import hydra
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig

from efat.config import CONF
from efat.errors import EfatError
from efat.overrides import compose_jobs

_statuses: list[int] = []


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def _job(cfg: DictConfig) -> None:
    """Run one of Hydra's jobs; one that fails does not stop the others of a sweep."""
    from efat.pipeline import run_job
    from efat.terminal import print_problems

    try:
        _statuses.append(run_job(cfg))
    except (EfatError, OSError) as error:  # a full disk, say; finished units are in the store
        print_problems(error if isinstance(error, EfatError) else EfatError(f"files: {error}"))
        _statuses.append(1)


def main() -> int:
    """Run the command line and return its exit status."""
    _statuses.clear()
    try:
        jobs = compose_jobs(sys.argv[1:])
        for cfg in jobs:
            with contextlib.suppress(HydraException):  # _check says what is wrong with it
                instantiate(cfg.executor).start()  # workers import Lightning as this process does
        _check(jobs)
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


def _check(jobs: list[DictConfig]) -> None:
    """Build every experiment once before Hydra makes a folder for the first."""
    if jobs:
        from efat.preflight import build_experiment  # seconds to import: not for --help

        for cfg in jobs:
            build_experiment(cfg)


if __name__ == "__main__":
    sys.exit(main())
