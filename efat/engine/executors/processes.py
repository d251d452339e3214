"""Worker processes on this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic

from efat.engine.executors.base import (
    Item,
    Output,
    WorkerDied,
    check_numbers,
    one_thread,
    usable_cores,
)
from efat.engine.executors.pool import DeadError, Pool, Worker, shared_pool

MOST_WORKERS_PER_CORE = 4
"""More only take memory: each worker holds torch and Lightning."""


@dataclass
class _Task(Generic[Item]):
    number: int
    item: Item
    deaths: int = 0


class Processes:
    """Run units in worker processes, one torch thread each, that live as long as this process.

    A worker that dies (killed, out of memory, a crash in native code) costs the unit that it was
    in, no other; the unit is tried again in a new worker.

    Args:
        workers: Processes; None takes one for each core that this process may use.
        retries: How often a unit is tried again whose worker died.
        fail_fast: Stop at the first unit that fails, rather than after the others of its stage.

    Raises:
        EfatError: Fewer than one worker, far more than cores, or negative retries.
    """

    def __init__(
        self, workers: int | None = None, retries: int = 2, fail_fast: bool = False
    ) -> None:
        most = MOST_WORKERS_PER_CORE * usable_cores()
        known = workers is None or (type(workers) is int and 1 <= workers <= most)
        check_numbers(
            *()
            if known
            else (
                f"executor.workers: {workers!r} given; an int from 1 to {most} "
                f"({MOST_WORKERS_PER_CORE} a core) or null is needed",
            ),
            retries=(retries, 0),
        )
        self.workers = workers or usable_cores()
        self.retries, self.fail_fast = retries, fail_fast

    def start(self) -> None:
        """Start the workers; they import torch and Lightning while the caller goes on."""
        one_thread()
        pool = shared_pool(self.workers)
        pool.top_up()
        for worker in pool.idle:
            worker.prepare()

    def run(
        self, function: Callable[[Item], Output], tasks: Iterable[Item]
    ) -> Iterator[tuple[int, Output | WorkerDied]]:
        """Yield (number, output) as they are finished; takes a task when a worker is free."""
        shift = _PoolRun(shared_pool(self.workers), function, tasks)
        try:
            shift.fill()
            while shift.busy:
                for pipe in wait(list(shift.busy)):
                    worker, task = shift.busy.pop(pipe)
                    try:
                        output: Output | WorkerDied = worker.take()
                        shift.pool.idle.append(worker)
                    except DeadError as death:
                        task.deaths += 1
                        if task.deaths <= self.retries:
                            shift.again.append(task)
                            continue
                        output = WorkerDied(f"its worker died {task.deaths} times, last by {death}")
                    shift.fill()  # before the caller is at work on the output
                    yield task.number, output
                shift.fill()
        finally:
            shift.abandon()


class _PoolRun(Generic[Item, Output]):
    """One run over the pool: which worker is at which task."""

    def __init__(
        self, pool: Pool, function: Callable[[Item], Output], tasks: Iterable[Item]
    ) -> None:
        self.pool, self.function = pool, function
        self.fresh = (_Task(number, item) for number, item in enumerate(tasks))
        self.again: deque[_Task[Item]] = deque()
        self.busy: dict[Any, tuple[Worker, _Task[Item]]] = {}

    def fill(self) -> None:
        """Give every idle worker a task, as long as there are some."""
        self.pool.top_up(len(self.busy))
        while self.pool.idle:
            task = self.again.popleft() if self.again else next(self.fresh, None)
            if task is None:
                return
            self._give(self.pool.idle.pop(), task)

    def _give(self, worker: Worker, task: _Task[Item]) -> None:
        pipe: Connection = worker.pipe
        self.busy[pipe] = worker, task
        try:
            worker.give((self.function, task.item))
        except DeadError:  # died idle: no fault of the task
            del self.busy[pipe]
            self._give(Worker(), task)

    def abandon(self) -> None:
        """Kill the workers that are still at a task; the next run has new ones."""
        for worker, _ in self.busy.values():
            worker.kill()
        self.busy.clear()
