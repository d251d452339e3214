"""Run units on Ray: one machine or a cluster, GPUs in fractions. Only this file imports ray."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

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


@checked("executor")
class Ray:
    """Run units as Ray tasks; Ray schedules them and retries those whose worker died.

    Every node must see the store under the same path.

    Args:
        address: Address of a running cluster (`auto`, `ray://...`); None starts Ray here.
        num_cpus: Cores of a unit.
        num_gpus: GPUs of a unit; 0.25 lets four units share one.
        in_flight: Units submitted to Ray at once; None takes eight for each that can run, which
            hides Ray's latency. Another campaign on the same store waits for these units.
        retries: Further attempts of a unit whose worker died (Ray's `max_retries`).
        fail_fast: Stop at the first unit that fails, rather than after the others of its stage.

    Raises:
        EfatError: A number that cannot be, or ray is not installed.
    """

    address: str | None = None
    num_cpus: Annotated[float, Field(gt=0)] = 1
    num_gpus: Annotated[float, Field(ge=0)] = 0
    in_flight: Positive | None = None
    retries: Count = 2
    fail_fast: bool = False

    def problems(self) -> Iterator[str]:
        """Check that ray is installed."""
        try:
            import ray  # noqa: F401
        except ImportError:
            yield missing_extra("ray")

    @property
    def workers(self) -> int:
        """Count the units that can run at once."""
        import ray

        if not ray.is_initialized():
            return 1
        total = ray.cluster_resources()
        shares = [total.get("CPU", 0) / self.num_cpus]
        if self.num_gpus:
            shares.append(total.get("GPU", 0) / self.num_gpus)
        return max(1, int(min(shares)))

    def start(self) -> None:
        """Start Ray, or connect to it; without dashboard, usage report or the workers' output.

        Raises:
            EfatError: There is no cluster at the address.
        """
        import ray

        one_thread()
        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local: dict[str, Any] = (
            {} if self.address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        )
        try:
            with _same_handlers():
                ray.init(
                    address=self.address, log_to_driver=False, logging_level=logging.ERROR, **local
                )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise EfatError(f"executor.address: {self.address!r} given; {error}") from None

    def run(
        self, function: Callable[[Item], Output], units: Iterable[Item]
    ) -> Iterator[tuple[int, Output | WorkerDied]]:
        """Yield (number, output) as they are finished; keeps `in_flight` units submitted."""
        import ray

        self.start()
        remote: Any = ray.remote(_call).options(
            num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=self.retries
        )
        shared = ray.put(function)
        fresh, flying = enumerate(units), dict[Any, int]()
        most = self.in_flight or 8 * self.workers

        def fill() -> None:
            while len(flying) < most and (unit := next(fresh, None)) is not None:
                flying[remote.remote(shared, unit[1])] = unit[0]

        try:
            with _one_error():
                fill()
            while flying:
                with _one_error():
                    (ready,), _ = ray.wait(list(flying), num_returns=1)
                    number = flying.pop(ready)
                    output = self._result(ready)
                    del ready  # Ray frees an output that has no reference
                    fill()
                yield number, output
        finally:
            for reference in flying:
                with contextlib.suppress(Exception):  # it may just have ended
                    ray.cancel(reference, force=True)

    def _result(self, reference: Any) -> Any:
        import ray
        from ray.exceptions import (
            NodeDiedError,
            ObjectLostError,
            OutOfMemoryError,
            RayTaskError,
            WorkerCrashedError,
        )

        try:
            return ray.get(reference)
        except (WorkerCrashedError, NodeDiedError, ObjectLostError, OutOfMemoryError) as error:
            reason = str(error).splitlines()[0]
            return WorkerDied(f"its worker died {self.retries + 1} times, last by: {reason}")
        except RayTaskError as error:
            raise error.cause or error from None


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """Turn failures of Ray itself (its daemon died, the cluster is gone) into one line."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        raise EfatError(
            f"executor: Ray failed ({' '.join(str(error).split())[:200]}); finished units are "
            "saved, and the same command goes on from there"
        ) from None


@contextlib.contextmanager
def _same_handlers() -> Iterator[None]:
    """Restore the signal handler of SIGTERM afterwards; Ray sets one of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _call(function: Callable[[Item], Output], unit: Item) -> Output:
    """Run a unit in a Ray worker, which Ray reuses, so that Lightning is imported once."""
    one_thread()
    return function(unit)
