"""Command line and YAML -> a checked `Experiment`; the package that knows Hydra.

Imports `campaign` and below, never `reporting`. `build_experiment` and `compose_experiment` are
imported when they are first used: Lightning takes seconds that `--help` does not need.
"""

from typing import TYPE_CHECKING, Any

from efat.config.compose import ComposedJob, compose_jobs, compose_sweep, label_problems
from efat.config.schema import CONF
from efat.config.sweep import ResultsTable, forget_jobs, note_exit_code, worst_exit_code

if TYPE_CHECKING:
    from efat.config.build import build_experiment, compose_experiment

__all__ = [
    "CONF",
    "ComposedJob",
    "ResultsTable",
    "build_experiment",
    "compose_experiment",
    "compose_jobs",
    "compose_sweep",
    "forget_jobs",
    "label_problems",
    "note_exit_code",
    "worst_exit_code",
]


def __getattr__(name: str) -> Any:
    if name not in ("build_experiment", "compose_experiment"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from efat.config import build

    return getattr(build, name)
