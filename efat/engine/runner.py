"""Run the units of a stage that have no result yet, and record the state of each."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from filelock import FileLock, Timeout

from efat.engine.executors.base import WorkerDied
from efat.engine.progress import Progress
from efat.engine.store import DamagedError, Result, Store, content_key
from efat.engine.unit import Failure, Job, JobRunner, Unit, process_name
from efat.errors import EfatError

MOST_NAMED = 10
"""Failed units that an error names; units.csv has all of them."""


class Executor(Protocol):
    """See `efat.engine.executors`."""

    @property
    def workers(self) -> int: ...
    @property
    def fail_fast(self) -> bool: ...
    def start(self) -> None: ...
    def run(self, function: Callable[[Any], Any], units: Any) -> Any: ...


class Runner(Protocol):
    """Runs the jobs of a stage: returns key and values of each, in their order, from its store."""

    store: Store

    def run(
        self, stage: str, function: Callable[..., Result], jobs: Sequence[Job]
    ) -> list[tuple[str, dict[str, Any]]]: ...


@dataclass(frozen=True)
class Record:
    """State of a unit: `computed` in this campaign, `found` in the store, `failed` or `missing`."""

    unit: Unit
    state: str
    result: Result | None = None
    reason: str = ""


@dataclass
class UnitRunner:
    """Run units of work through an executor, keep their results in a store.

    A unit is locked from before it is handed out until its result is saved, so that two campaigns
    on one store share the work.

    Args:
        store: Where results are looked up and kept.
        executor: Where missing units run.
        progress: Shows the user the state of the campaign.
        checkpoint_every: Steps between two checkpoints of a long training; 0 writes none.
    """

    store: Store
    executor: Executor
    progress: Progress
    checkpoint_every: int = 0
    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    """Every unit requested so far, by stage and key."""
    on_computed: Callable[[Unit, Result], None] | None = None
    """Called with every unit computed in this campaign, once its result is saved."""
    stages: list[str] = field(default_factory=list)
    """Stages that ran so far, also those without a unit."""
    damaged: set[str] = field(default_factory=set)
    """Damaged files that were reported; each is looked up again once its unit is locked."""

    @property
    def computed(self) -> dict[str, int]:
        """Count the units computed in this campaign, by stage; the others were in the store."""
        stages = dict.fromkeys(self.stages, 0)
        for (stage, _), record in self.records.items():
            stages[stage] += record.state == "computed"
        return stages

    def run(
        self, stage: str, function: Callable[..., Result], jobs: Sequence[Job]
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return key and values of every job, in the order of `jobs`; computes what is missing.

        Raises:
            EfatError: Units failed; the others of the stage are saved.
            OSError: A result could not be saved; those before it are.
        """
        self.stages.append(stage)
        keys = [content_key(stage, job) for job in jobs]
        units = {k: Unit(stage, k, job) for k, job in zip(keys, jobs, strict=True)}
        done = {key: self._look_up(unit) for key, unit in units.items()}
        missing = [unit for key, unit in units.items() if done[key] is None]
        for unit in missing:
            self._note(unit, "missing")
        missing.sort(key=lambda unit: (-unit.job.cost_steps, unit.key))  # longest first
        self.progress.begin(stage, sum(u.job.cost_steps for u in missing), len(missing))
        self._compute(missing, function)
        self._raise_failures([self.records[stage, key] for key in units])
        values = {key: self.records[stage, key].result for key in units}
        return [(key, result.values if (result := values[key]) else {}) for key in keys]

    def _look_up(self, unit: Unit) -> Result | None:
        """Return the result of a finished unit; a damaged one is reported and counts as missing."""
        try:
            result = self.store.read(unit.stage, unit.key)
        except DamagedError as error:
            if str(error) not in self.damaged:
                self.progress.say(f"damaged    {error}: not as it was written; computed again")
            self.damaged.add(str(error))
            return None
        if result is not None:
            self._note(unit, "found", result)
        return result

    def _compute(self, missing: list[Unit], function: Callable[..., Result]) -> None:
        """Compute units; wait for those that another campaign holds, or take them over."""
        store = replace(self.store, root=self.store.root.absolute())
        job_runner = JobRunner(function, store, self.checkpoint_every, process_name())
        while missing:
            locked = _LockedUnits(self.store, missing, self._look_up, self.progress)
            with locked, contextlib.closing(self.executor.run(job_runner, locked)) as outputs:
                for number, output in outputs:
                    unit = locked.taken[number]
                    self._finish(unit, output, job_runner)
                    locked.release(unit, done=not isinstance(output, Failure | WorkerDied))
                    self.progress.advance(unit.job.cost_steps)
            for unit in locked.done_elsewhere:
                self.progress.advance(unit.job.cost_steps)
            missing = locked.held_elsewhere
            if missing and not locked.taken:
                self.progress.wait_for(len(missing))
                time.sleep(0.1)

    def _finish(
        self, unit: Unit, output: Result | Failure | WorkerDied, job_runner: JobRunner
    ) -> None:
        """Save a result, or record a failure."""
        if isinstance(output, Failure | WorkerDied):
            self._note(unit, "failed", reason=output.reason)
            self.progress.fail()
            if self.executor.fail_fast:
                self._raise_failures([self.records[unit.stage, unit.key]])
            return
        self.store.write(unit.stage, unit.key, output)
        self._note(unit, "computed", replace(output, weights=None))
        if self.on_computed:
            self.on_computed(unit, output)
        if job_runner.keeps_checkpoints(unit):
            self.store.drop_checkpoints(unit.stage, unit.key)

    def _note(self, unit: Unit, state: str, result: Result | None = None, reason: str = "") -> None:
        """Keep the record of a unit; one computed in this campaign stays `computed`."""
        before = self.records.get((unit.stage, unit.key))
        if not (before and before.state == "computed" and state == "found"):
            self.records[unit.stage, unit.key] = Record(unit, state, result, reason)

    def _raise_failures(self, records: list[Record]) -> None:
        failed = [record for record in records if record.state == "failed"]
        if not failed:
            return
        problems = [
            f"{r.unit.stage}: unit {r.unit.key[:12]} failed: {r.reason}; "
            f"log: {self.store.log(r.unit.stage, r.unit.key)}"
            for r in failed[:MOST_NAMED]
        ]
        raise EfatError(
            [
                *problems,
                f"{failed[0].unit.stage}: {len(failed)} of {len(records)} units failed (units.csv "
                "has all of them); the others are saved, and the same command tries these again",
            ]
        )


class _LockedUnits:
    """Units as an executor takes them, each locked when it is handed out.

    Args:
        store: Where the locks are.
        units: Candidates, in the order in which they are offered.
        look_up: Reads a unit's result once it is locked; another campaign may have saved it.
        progress: Shows the number of running units.
    """

    def __init__(
        self,
        store: Store,
        units: Sequence[Unit],
        look_up: Callable[[Unit], Result | None],
        progress: Progress,
    ) -> None:
        self.store, self.candidates, self.look_up = store, deque(units), look_up
        self.progress = progress
        self.taken: list[Unit] = []
        self.done_elsewhere: list[Unit] = []
        self.held_elsewhere: list[Unit] = []
        self.locks: dict[str, FileLock] = {}

    def __enter__(self) -> _LockedUnits:
        return self

    def __iter__(self) -> Iterator[Unit]:
        """Yield units that no other campaign computes."""
        while self.candidates:
            unit = self.candidates.popleft()
            if self._claim(unit):
                self.taken.append(unit)
                self.progress.running = len(self.locks)
                yield unit

    def _claim(self, unit: Unit) -> bool:
        lock = self.store.lock(unit.stage, unit.key)
        try:
            lock.acquire()
        except Timeout:
            self.held_elsewhere.append(unit)
            return False
        self.locks[unit.key] = lock
        if self.look_up(unit) is None:
            return True
        self.done_elsewhere.append(unit)
        self.release(unit, done=True)
        return False

    def release(self, unit: Unit, done: bool) -> None:
        """Release the unit's lock, and delete the lock file if the unit is done."""
        lock = self.locks.pop(unit.key)
        if done:  # a campaign that still waits for this file then reads the result
            self.store.lock_path(unit.stage, unit.key).unlink(missing_ok=True)
        lock.release()
        self.progress.running = len(self.locks)

    def __exit__(self, *_: object) -> None:
        for lock in self.locks.values():
            lock.release()
        self.locks.clear()
