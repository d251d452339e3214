"""Where units of work run: here, in worker processes, each in a process, on Ray, on Slurm.

An executor takes tasks one by one, as it has room for them, and yields `(number, output)` as they
are finished; `Lost` stands for the output of a task whose process died once too often. `retries`
says how many attempts more a task has, `fail_fast` whether the campaign stops at the first failure.
"""

from efat.engine.executors.base import Lost, usable_cores
from efat.engine.executors.processes import Processes
from efat.engine.executors.ray import Ray
from efat.engine.executors.serial import Serial
from efat.engine.executors.slurm import Slurm
from efat.engine.executors.subprocess import Launch

__all__ = ["Launch", "Lost", "Processes", "Ray", "Serial", "Slurm", "usable_cores"]
