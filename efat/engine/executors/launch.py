"""Run each unit in a Python process of its own; Lightning can start others beside it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from efat.engine.executors.base import Count, Item, Output, WorkerDied, one_thread
from efat.errors import checked

UNIT, ANSWER = "unit.pickle", "answer.pickle"
"""Files in the folder that a unit and its process share."""


@checked("executor")
class Launch:
    """Run one unit after the other, each in a new Python process: for `trainer=ddp`.

    Lightning starts the processes of a distributed training by running the program again. With this
    executor the program is one unit, so that no other process runs the campaign.

    Args:
        retries: Further attempts of a unit whose process died.
        fail_fast: Stop at the first unit that fails, rather than after the others of its stage.

    Raises:
        EfatError: Negative retries.
    """

    retries: Count = 2
    fail_fast: bool = False
    workers: ClassVar[int] = 1

    def start(self) -> None:
        """Prepare this process, which only waits."""
        one_thread()

    def run(
        self, function: Callable[[Item], Output], units: Iterable[Item]
    ) -> Iterator[tuple[int, Output | WorkerDied]]:
        """Yield (number, output) in order."""
        for number, unit in enumerate(units):
            with tempfile.TemporaryDirectory(prefix="efat-") as folder:
                (Path(folder) / UNIT).write_bytes(pickle.dumps((function, unit)))
                output: Output | WorkerDied = self._attempt(Path(folder))
            yield number, output

    def _attempt(self, folder: Path) -> Output | WorkerDied:
        end = ""
        for _ in range(1 + self.retries):
            end = _launch(folder)
            if (folder / ANSWER).exists():
                good, output = pickle.loads((folder / ANSWER).read_bytes())  # our own process's
                if not good:
                    raise output
                answer: Output = output
                return answer
        return WorkerDied(f"its process died {1 + self.retries} times, last by {end}")


def _launch(folder: Path) -> str:
    """Run the process of a unit to its end; return what ended it."""
    command = [sys.executable, "-m", "efat.engine.executors.launch_main", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        code = process.wait()
    finally:  # interrupted, or Lightning's processes outlived the one that started them
        _kill_group(process.pid)
        process.wait()
        if process.stdin:
            process.stdin.close()
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
