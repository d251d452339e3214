"""Run units on Slurm, through submitit, which only this file imports."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Generic

from pydantic import Field

from efat.engine.executors.base import (
    Count,
    Item,
    Output,
    Positive,
    WorkerDied,
    missing_extra,
    one_thread,
)
from efat.errors import EfatError, checked


@dataclass
class _Batch(Generic[Item]):
    """The units of one job of the array."""

    units: Sequence[tuple[int, Item]]
    deaths: int = 0


@checked("executor")
class Slurm:
    """Run units as Slurm job arrays, several units per job; only the driver saves results.

    Every node must see the store and `folder` under the same path.

    Args:
        folder: Of submitit's scripts, outputs and logs.
        jobs: Most jobs in the queue at once.
        units_per_job: Units that one job runs, one after the other.
        cluster: `slurm`, or `local` for processes on this machine instead.
        parameters: submitit's own, e.g. `timeout_min`, `slurm_partition`, `gpus_per_node`.
        poll_s: Seconds between two queries of the jobs' state.
        retries: Further attempts of the units of a job that died.
        fail_fast: Stop at the first unit that fails, rather than after the others of its stage.

    Raises:
        EfatError: A number that cannot be, a parameter that submitit does not know, no Slurm on
            this machine, or submitit is not installed.
    """

    folder: str = "outputs/slurm"
    jobs: Positive = 64
    units_per_job: Positive = 8
    cluster: str = "slurm"
    parameters: dict[str, Any] | None = None
    poll_s: Annotated[float, Field(ge=0)] = 2.0
    retries: Count = 2
    fail_fast: bool = False

    def problems(self) -> Iterator[str]:
        """Check that submitit is installed and knows the parameters."""
        try:
            self._executor()
        except EfatError as error:
            yield from error.problems

    @property
    def workers(self) -> int:
        """Count the jobs that can run at once."""
        return self.jobs

    def start(self) -> None:
        """Prepare this process, which only waits."""
        one_thread()

    def run(
        self, function: Callable[[Item], Output], units: Iterable[Item]
    ) -> Iterator[tuple[int, Output | WorkerDied]]:
        """Yield (number, output) as jobs end; keeps `jobs` of them in the queue."""
        fresh, again = enumerate(units), list[_Batch[Item]]()
        queued = list[tuple[Any, _Batch[Item]]]()
        try:
            while True:
                batches = [again.pop() for _ in range(min(len(again), self.jobs - len(queued)))]
                while len(queued) + len(batches) < self.jobs and (
                    part := list(islice(fresh, self.units_per_job))
                ):
                    batches.append(_Batch(part))
                queued += self._submit(function, batches)
                if not queued:
                    return
                ended = [(job, batch) for job, batch in queued if job.done()]
                queued = [(job, batch) for job, batch in queued if (job, batch) not in ended]
                for job, batch in ended:
                    yield from self._outputs(job, batch, again)
                if not ended:
                    time.sleep(self.poll_s)
        finally:
            for job, _ in queued:
                with contextlib.suppress(Exception):  # it may just have ended
                    job.cancel(check=False)

    def _submit(
        self, function: Callable[[Item], Output], batches: list[_Batch[Item]]
    ) -> list[tuple[Any, _Batch[Item]]]:
        if not batches:
            return []
        items = [[item for _, item in batch.units] for batch in batches]
        jobs = self._executor().map_array(_call_all, [function] * len(batches), items)
        return list(zip(jobs, batches, strict=True))

    def _outputs(
        self, job: Any, batch: _Batch[Item], again: list[_Batch[Item]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield the outputs of a job that ended; if it died, queue its units again."""
        numbers = [number for number, _ in batch.units]
        error = job.exception()
        if error is None:
            yield from zip(numbers, job.result(), strict=True)
        elif batch.deaths >= self.retries:
            reason = f"its job {job.job_id} died {batch.deaths + 1} times; {job.paths.stderr}"
            yield from ((number, WorkerDied(reason)) for number in numbers)
        else:  # one per job, so that a unit that kills its job affects no other
            again += [_Batch([unit], batch.deaths + 1) for unit in batch.units]

    def _executor(self) -> Any:
        try:
            import submitit
        except ImportError:
            raise EfatError(missing_extra("slurm")) from None
        try:
            executor = submitit.AutoExecutor(
                folder=Path(self.folder).absolute(), cluster=self.cluster
            )
            executor.update_parameters(**{"name": "efat", **(self.parameters or {})})
        except (RuntimeError, ValueError, TypeError, NameError) as error:
            raise EfatError(f"executor: {error}") from None
        return executor


def _call_all(function: Callable[[Item], Output], items: Sequence[Item]) -> list[Output]:
    """Run in a job of the array."""
    one_thread()
    return [function(item) for item in items]
