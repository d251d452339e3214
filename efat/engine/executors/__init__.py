"""Run units in this process, in worker processes, one process per unit, on Ray or on Slurm.

An executor takes units one by one, when it has room for them, and yields `(number, output)` as they
are finished; the output is `WorkerDied` if the unit's process died too often. `retries` is the
number of further attempts of such a unit; with `fail_fast` the campaign stops at the first failure.
"""

from efat.engine.executors.base import WorkerDied, usable_cores
from efat.engine.executors.launch import Launch
from efat.engine.executors.processes import Processes
from efat.engine.executors.ray import Ray
from efat.engine.executors.serial import Serial
from efat.engine.executors.slurm import Slurm

__all__ = [
    "Launch",
    "Processes",
    "Ray",
    "Serial",
    "Slurm",
    "WorkerDied",
    "usable_cores",
]
