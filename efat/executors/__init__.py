"""Where units of work run: here, in worker processes, each in a process, on Ray, on Slurm.

An executor takes tasks one by one, as it has room for them, and yields `(number, output)` as they
are finished; `Lost` stands for the output of a task whose process died once too often. `retries`
says how many attempts more a task has, `fail_fast` whether the campaign stops at the first failure.
"""

from efat.executors.base import Lost, usable_cores
from efat.executors.launch import Launch
from efat.executors.processes import Processes
from efat.executors.ray import Ray
from efat.executors.serial import Serial
from efat.executors.slurm import Slurm

__all__ = ["Launch", "Lost", "Processes", "Ray", "Serial", "Slurm", "usable_cores"]
