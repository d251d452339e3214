"""Worker processes that live as long as this one; each has a pipe of its own.

With a shared queue (`concurrent.futures`, loky, pebble) a worker killed while it holds the queue's
lock takes the pool with it. Here a dead worker is the end of its own pipe, and nothing else.
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
    """A worker died; says how."""


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
        """Let it import torch and Lightning while the caller goes on; no answer comes."""
        with contextlib.suppress(OSError):  # a death is told when it is given work
            self.pipe.send(None)

    def give(self, message: Any) -> None:
        """Hand it work.

        Raises:
            DeadError: It died while it was idle.
        """
        try:
            self.pipe.send(message)
        except OSError:
            raise DeadError(self._end()) from None

    def take(self) -> Any:
        """Return what it made of the work.

        Raises:
            DeadError: It died at it.
        """
        try:
            good, output = self.pipe.recv()
        except (EOFError, OSError):
            raise DeadError(self._end()) from None
        if not good:
            raise output
        return output

    def kill(self) -> None:
        """End it at once, whatever it does."""
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
        """Start workers in place of those that died or were killed; `busy` are at work."""
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
    """Let children be born deaf to Ctrl-C, which a terminal sends to all; it is the driver's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(pipe: Connection) -> None:
    """Do what comes through the pipe, until the driver closes it or dies."""
    threading.Thread(target=_die_with_driver, daemon=True).start()
    one_thread()
    with contextlib.suppress(EOFError, OSError):
        while True:
            message = pipe.recv()
            if message is None:
                importlib.import_module("efat.training.trainer")  # seconds, that of Lightning
                continue
            function, task = message
            try:
                answer = True, function(task)
            except Exception as error:
                answer = False, error
            pipe.send(answer)


def _die_with_driver() -> None:
    """Leave no orphan that goes on with a unit which a next driver computes as well."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
