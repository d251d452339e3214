"""Worker processes that live as long as this one; each has a pipe of its own.

With a shared queue (`concurrent.futures`, loky, pebble) a worker killed while it holds the queue's
lock blocks the whole pool. With pipes, a dead worker closes its own pipe and affects no other.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

from efat.engine.executors.base import one_thread


class DeadError(Exception):
    """A worker died; the text names the signal or exit status."""


class Worker:
    """One spawned process."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # fork after torch has threads is unsafe
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), name="efat-worker")
        with _ignored_interrupts():
            self.process.start()
        theirs.close()

    def prepare(self) -> None:
        """Let it import torch and Lightning in the background; it sends no answer."""
        with contextlib.suppress(OSError):  # reported when it is given work
            self.pipe.send(None)

    def give(self, message: Any) -> None:
        """Send it work.

        Raises:
            DeadError: It had died while it was idle.
        """
        try:
            self.pipe.send(message)
        except OSError:
            raise DeadError(self._end()) from None

    def take(self) -> Any:
        """Return the output of its work; wait for it.

        Raises:
            DeadError: It died while it worked.
        """
        try:
            good, output = self.pipe.recv()
        except (EOFError, OSError):
            raise DeadError(self._end()) from None
        if not good:
            raise output
        return output

    def kill(self) -> None:
        """Kill it at once."""
        self.process.kill()
        self._end()

    def _end(self) -> str:
        self.pipe.close()
        self.process.join()
        code = self.process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"


class Pool:
    """A number of workers, started at once and replaced when they die."""

    def __init__(self, size: int) -> None:
        self.size, self.idle = size, list[Worker]()
        atexit.register(self.close)

    def top_up(self, busy: int = 0) -> None:
        """Start workers until there are `size`, of which `busy` are at work."""
        self.idle += [Worker() for _ in range(self.size - busy - len(self.idle))]

    def close(self) -> None:
        """End all idle workers; multiprocessing would wait for them at exit."""
        for worker in self.idle:
            worker.kill()
        self.idle.clear()


@cache
def shared_pool(size: int) -> Pool:
    """Return the one pool of this size; the jobs of a sweep share it."""
    return Pool(size)


@contextlib.contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Start workers with SIGINT ignored; only the driver handles Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(pipe: Connection) -> None:
    """Run the work that comes through the pipe, until the driver closes it or dies."""
    threading.Thread(target=_die_with_driver, daemon=True).start()
    one_thread()
    with contextlib.suppress(EOFError, OSError):
        while True:
            message = pipe.recv()
            if message is None:
                importlib.import_module("efat.training.trainer")  # takes seconds
                continue
            function, unit = message
            try:
                answer = True, function(unit)
            except Exception as error:
                answer = False, error
            pipe.send(answer)


def _die_with_driver() -> None:
    """Exit when the driver dies, so that no two processes compute one unit."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
