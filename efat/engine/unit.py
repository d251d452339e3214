"""One unit of work, wherever it runs: its log, its checkpoints and its result or failure."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from efat.engine.executors.base import is_secondary
from efat.engine.store import Result, Store
from efat.errors import EfatError


class Job(Protocol):
    """A description of work: its content is the key of its result."""

    @property
    def cost_steps(self) -> int:
        """Estimated work in training steps, for a progress bar."""

    @property
    def checkpoint_steps(self) -> int:
        """Steps after which the work could be resumed; 0: it is always done in one go."""


@dataclass(frozen=True)
class Unit:
    """A job, with the stage and key of its result."""

    stage: str
    key: str
    job: Job


@dataclass(frozen=True)
class Failure:
    """The reason why a unit gave no result."""

    reason: str


@dataclass(frozen=True)
class JobRunner:
    """Runs units; an executor sends it to the process of a unit and calls it there.

    Args:
        function: Computes a job; called with the job, the store and, for a job that keeps
            checkpoints, `checkpoints=(folder, steps between two)`.
        store: For inputs, logs and checkpoints; results are written by the driver.
        checkpoint_every: Steps between two checkpoints of a training; 0 writes none.
        driver: Host and process that distributes the units; marks its attempts in the logs.
    """

    function: Callable[..., Result]
    store: Store
    checkpoint_every: int
    driver: str

    def __call__(self, unit: Unit) -> Result | Failure:
        """Compute a unit; an exception becomes a `Failure`, and its traceback goes into the log."""
        with _Log(self.store.log(unit.stage, unit.key), self.driver) as log:
            try:
                result = self.function(unit.job, self.store, **self._checkpoints(unit))
            except Exception as error:
                log.note(traceback.format_exc())
                one_line = " ".join(str(error).split()) or type(error).__name__
                plain = isinstance(error, EfatError | OSError)
                return Failure(one_line if plain else f"{type(error).__name__}: {one_line}")
            origin = {"host": socket.gethostname(), "retries": log.attempts - 1}
            return replace(result, origin=origin)

    def keeps_checkpoints(self, unit: Unit) -> bool:
        """Return whether a unit is long enough for checkpoints."""
        return 0 < self.checkpoint_every < unit.job.checkpoint_steps

    def _checkpoints(self, unit: Unit) -> dict[str, Any]:
        if not self.keeps_checkpoints(unit):
            return {}
        folder = self.store.checkpoints(unit.stage, unit.key)
        return {"checkpoints": (folder, self.checkpoint_every)}


def process_name() -> str:
    """Name this process on this machine."""
    return f"{socket.gethostname()}:{os.getpid()}"


class _Log:
    """A unit's log: one line per attempt, and the output of a worker during it.

    If a log cannot be written, the unit runs without.
    """

    def __init__(self, path: Path, driver: str) -> None:
        self.path, self.driver, self.attempts = path, driver, 1
        self.begin = time.perf_counter()
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> _Log:
        mark = f"for {self.driver} on {process_name()}"
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            earlier = self.path.read_text() if self.path.exists() else ""
            self.attempts += earlier.count(f" for {self.driver} on ")
            self.mark(f"{time.strftime('%Y-%m-%d %H:%M:%S')} attempt {self.attempts} {mark}\n")
            if process_name() != self.driver:  # the driver's own output stays in its terminal
                self.stack.enter_context(_output_to(self.path))
        return self

    def note(self, text: str) -> None:
        """Append to the log."""
        with contextlib.suppress(OSError), self.path.open("a") as stream:
            stream.write(text)

    def mark(self, text: str) -> None:
        """Append the begin or end of an attempt, once for all its processes."""
        if not is_secondary():
            self.note(text)

    def __exit__(self, *_: object) -> None:
        self.stack.close()
        self.mark(f"ended after {time.perf_counter() - self.begin:.2f} s\n")


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send standard output and error, of native code too, to a file."""
    _flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    with path.open("a") as stream:
        for number, _ in saved:
            os.dup2(stream.fileno(), number)
    try:
        yield
    finally:
        _flush()
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
