"""Run all units in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

from efat.engine.executors.base import Item, Output, one_thread
from efat.errors import checked


@checked("executor")
class Serial:
    """Run one unit after the other in this process, on one torch thread.

    Args:
        fail_fast: Stop at the first unit that fails, rather than after the others of its stage.
    """

    fail_fast: bool = False
    workers: ClassVar[int] = 1

    def start(self) -> None:
        """Prepare the process."""
        one_thread()

    def run(
        self, function: Callable[[Item], Output], units: Iterable[Item]
    ) -> Iterator[tuple[int, Output]]:
        """Yield (number, output) in order."""
        yield from ((number, function(unit)) for number, unit in enumerate(units))
