"""From command line and YAML to a checked `Experiment`; all of Hydra is here.

Imports `campaign` and below, never `reporting`. `efat.config.build` is not re-exported here: it
imports Lightning, which takes seconds that `--help` does not need.
"""

from efat.config.compose import ComposedJob, compose_jobs, compose_sweep, label_problems
from efat.config.schema import CONF
from efat.config.sweep import ResultsTable, forget_jobs, note_status, worst_status

__all__ = [
    "CONF",
    "ComposedJob",
    "ResultsTable",
    "compose_jobs",
    "compose_sweep",
    "forget_jobs",
    "label_problems",
    "note_status",
    "worst_status",
]
