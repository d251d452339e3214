"""Where units of work run: in this process, or in a pool of worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import Any, TypeVar

from efat.errors import EfatError

MOST_WORKERS_PER_CORE = 4
"""More only take memory: each worker holds torch and Lightning."""

Item = TypeVar("Item")
Output = TypeVar("Output")


class Serial:
    """Run one unit after the other in this process, on one torch thread."""

    workers = 1

    def start(self) -> None:
        """Prepare the process."""
        _one_thread()

    def run(
        self, function: Callable[[Item], Output], items: Sequence[Item]
    ) -> Iterator[tuple[int, Output]]:
        """Yield (index, output) in order."""
        yield from ((index, function(item)) for index, item in enumerate(items))


class Processes:
    """Run units in worker processes, one torch thread each, that live as long as this process.

    Args:
        workers: Processes; None takes one for each core that this process may use.

    Raises:
        EfatError: Fewer than one worker, or far more than cores.
    """

    def __init__(self, workers: int | None = None) -> None:
        most = MOST_WORKERS_PER_CORE * usable_cores()
        if workers is not None and (type(workers) is not int or not 1 <= workers <= most):
            raise EfatError(
                f"executor.workers: {workers!r} given; an int from 1 to {most} "
                f"({MOST_WORKERS_PER_CORE} a core) or null is needed"
            )
        self.workers = workers or usable_cores()

    def start(self) -> None:
        """Start the workers; they import torch and Lightning while the caller goes on."""
        _one_thread()
        for _ in range(self.workers):
            _pool(self.workers).submit(os.getpid)

    def run(
        self, function: Callable[[Item], Output], items: Sequence[Item]
    ) -> Iterator[tuple[int, Output]]:
        """Yield (index, output) as they are finished; a lone item runs here.

        A lone item gains nothing from a pool, whose workers may still be importing Lightning.

        Raises:
            EfatError: A worker died; what was yielded before stands.
        """
        if len(items) == 1:
            yield 0, function(items[0])
            return
        futures: dict[Future[Output], int] = {}
        try:
            futures |= {_pool(self.workers).submit(function, x): i for i, x in enumerate(items)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            _pool.cache_clear()
            raise EfatError(
                "executor: a worker process died (killed, or out of memory); finished units are "
                "saved, so run the same command again, with a smaller executor.workers if memory "
                "was short"
            ) from None
        finally:
            for future in futures:
                future.cancel()


@cache
def _pool(workers: int) -> ProcessPoolExecutor:
    """Return the one pool of this size; the jobs of a sweep share it."""
    context = multiprocessing.get_context("spawn")  # fork after torch has threads is unsafe
    return ProcessPoolExecutor(workers, context, initializer=_start_worker)


def usable_cores() -> int:
    """Count the cores that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _one_thread() -> None:
    """Two threads a process collapse on a busy machine, and sums differ with their number."""
    import torch  # not for --help

    torch.set_num_threads(1)


def _start_worker() -> None:
    import efat.fit  # noqa: F401 - pays for importing Lightning once, before the first unit

    _one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
