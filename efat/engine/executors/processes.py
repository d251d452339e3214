"""Worker processes on this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Annotated, Any, Generic

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from efat.engine.executors.base import (
    Count,
    Item,
    Output,
    WorkerDied,
    one_thread,
    usable_cores,
)
from efat.engine.executors.pool import DeadError, Pool, Worker, shared_pool
from efat.errors import checked

MOST_WORKERS_PER_CORE = 4
"""More only need memory: each worker holds torch and Lightning."""


@dataclass
class _QueuedUnit(Generic[Item]):
    number: int
    item: Item
    deaths: int = 0


def _checked_workers(value: Any) -> int:
    most = MOST_WORKERS_PER_CORE * usable_cores()
    if value is None:
        return usable_cores()
    if type(value) is not int or not 1 <= value <= most:
        allowed = f"an int from 1 to {most} ({MOST_WORKERS_PER_CORE} per core) or null"
        raise PydanticCustomError("workers", "{allowed}", {"allowed": allowed})
    return value


Workers = Annotated[int, PlainValidator(_checked_workers)]


@checked("executor")
class Processes:
    """Run units in worker processes, one torch thread each, that live as long as this process.

    If a worker dies (killed, out of memory, a crash in native code), its unit is tried again in a
    new worker; no other unit is affected.

    Args:
        workers: Processes; None takes one for each core that this process may use.
        retries: Further attempts of a unit whose worker died.
        fail_fast: Stop at the first unit that fails, rather than after the others of its stage.

    Raises:
        EfatError: Fewer than one worker, far more than cores, or negative retries.
    """

    workers: Workers = Field(default_factory=usable_cores)
    retries: Count = 2
    fail_fast: bool = False

    def start(self) -> None:
        """Start the workers; they import torch and Lightning in the background."""
        one_thread()
        pool = shared_pool(self.workers)
        pool.top_up()
        for worker in pool.idle:
            worker.prepare()

    def run(
        self, function: Callable[[Item], Output], units: Iterable[Item]
    ) -> Iterator[tuple[int, Output | WorkerDied]]:
        """Yield (number, output) as they are finished; takes a unit when a worker is free."""
        pool_run = _PoolRun(shared_pool(self.workers), function, units)
        try:
            pool_run.fill()
            while pool_run.busy:
                for pipe in wait(list(pool_run.busy)):
                    worker, unit = pool_run.busy.pop(pipe)
                    try:
                        output: Output | WorkerDied = worker.take()
                        pool_run.pool.idle.append(worker)
                    except DeadError as death:
                        unit.deaths += 1
                        if unit.deaths <= self.retries:
                            pool_run.again.append(unit)
                            continue
                        output = WorkerDied(f"its worker died {unit.deaths} times, last by {death}")
                    pool_run.fill()  # before the caller handles the output
                    yield unit.number, output
                pool_run.fill()
        finally:
            pool_run.abandon()


class _PoolRun(Generic[Item, Output]):
    """One run on the pool: the units of busy workers, and those that wait."""

    def __init__(
        self, pool: Pool, function: Callable[[Item], Output], units: Iterable[Item]
    ) -> None:
        self.pool, self.function = pool, function
        self.fresh = (_QueuedUnit(number, item) for number, item in enumerate(units))
        self.again: deque[_QueuedUnit[Item]] = deque()
        self.busy: dict[Any, tuple[Worker, _QueuedUnit[Item]]] = {}

    def fill(self) -> None:
        """Give every idle worker a unit, as long as there are some."""
        self.pool.top_up(len(self.busy))
        while self.pool.idle:
            unit = self.again.popleft() if self.again else next(self.fresh, None)
            if unit is None:
                return
            self._give(self.pool.idle.pop(), unit)

    def _give(self, worker: Worker, unit: _QueuedUnit[Item]) -> None:
        pipe: Connection = worker.pipe
        self.busy[pipe] = worker, unit
        try:
            worker.give((self.function, unit.item))
        except DeadError:  # it died while idle: the unit is not to blame
            del self.busy[pipe]
            self._give(Worker(), unit)

    def abandon(self) -> None:
        """Kill the workers that are still busy; the next run starts new ones."""
        for worker, _ in self.busy.values():
            worker.kill()
        self.busy.clear()
