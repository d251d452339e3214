"""Runs content-addressed jobs: looks results up, computes the missing ones, keeps them.

Knows nothing of faults or networks; imports `errors` and `io`. Where jobs run: `executors`.
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
