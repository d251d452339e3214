"""Where units of work run: in this process, or in a pool of worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from efat.errors import EfatError

Item = TypeVar("Item")
Output = TypeVar("Output")


class Serial:
    """Run one unit after the other in this process, on one torch thread."""

    workers = 1

    def start(self) -> None:
        """Prepare the process."""
        _start_worker()

    def run(
        self, function: Callable[[Item], Output], items: Sequence[Item]
    ) -> Iterator[tuple[int, Output]]:
        """Yield (index, output) in order."""
        yield from ((index, function(item)) for index, item in enumerate(items))

    def stop(self) -> None:
        """Do nothing; there is no pool."""


class Processes:
    """Run units in persistent worker processes, one torch thread each.

    Args:
        workers: Processes; None takes one for each core that this process may use.

    Raises:
        EfatError: Fewer than one worker.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and (type(workers) is not int or workers < 1):
            raise EfatError(f"executor.workers: {workers!r} given; an int >= 1 or null is needed")
        self.workers = workers or usable_cores()
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> None:
        """Start the workers; they import torch and Lightning while the caller goes on."""
        context = multiprocessing.get_context("spawn")  # fork after torch has threads is unsafe
        self._pool = ProcessPoolExecutor(self.workers, context, initializer=_start_worker)
        for _ in range(self.workers):
            self._pool.submit(os.getpid)

    def run(
        self, function: Callable[[Item], Output], items: Sequence[Item]
    ) -> Iterator[tuple[int, Output]]:
        """Yield (index, output) as they are finished.

        Raises:
            EfatError: A worker died; what was yielded before stands.
        """
        if self._pool is None:
            self.start()
        assert self._pool is not None  # noqa: S101 - start() sets it; tells mypy
        futures: dict[Future[Output], int] = {
            self._pool.submit(function, item): index for index, item in enumerate(items)
        }
        try:
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BrokenProcessPool:
            raise EfatError(
                "executor: a worker process died (killed, or out of memory); finished units are "
                "saved, so run the same command again, with a smaller executor.workers if memory "
                "was short"
            ) from None

    def stop(self) -> None:
        """Stop the workers; units that have not begun are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def usable_cores() -> int:
    """Count the cores that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _start_worker() -> None:
    """One thread a process: two threads each collapse on a busy machine."""
    import torch

    import efat.fit  # noqa: F401 - pays for importing Lightning once, before the first unit

    torch.set_num_threads(1)
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
