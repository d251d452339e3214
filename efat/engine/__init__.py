"""Run content-addressed jobs: look up stored results, compute the missing ones, store them.

Knows nothing of faults or networks; imports `errors` and `io`. `executors` run the jobs.
"""

from efat.engine.progress import Progress
from efat.engine.runner import Executor, Record, Runner, UnitRunner
from efat.engine.store import OPTIONAL, DamagedError, Result, Store, content_key, plain
from efat.engine.unit import Job, Unit

__all__ = [
    "OPTIONAL",
    "DamagedError",
    "Executor",
    "Job",
    "Progress",
    "Record",
    "Result",
    "Runner",
    "Store",
    "Unit",
    "UnitRunner",
    "content_key",
    "plain",
]
