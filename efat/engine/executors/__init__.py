"""Where units of work run: here, in worker processes, each in a process, on Ray, on Slurm.

An executor takes tasks one by one, as it has room for them, and yields `(number, output)` as they
are finished; `WorkerDied` stands for the output of a task whose process died once too often.
`retries` says how many attempts more a task has, `fail_fast` whether the campaign stops at the
first failure.
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
