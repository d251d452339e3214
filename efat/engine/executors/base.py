"""Shared parts of the executors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

from efat.errors import EfatError, raise_problems

Item = TypeVar("Item")
Output = TypeVar("Output")


@dataclass(frozen=True)
class WorkerDied:
    """The output of a unit whose process died at each attempt."""

    reason: str


def usable_cores() -> int:
    """Count the cores that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def one_thread() -> None:
    """Limit torch to one thread: more is slower on a loaded machine and changes rounding."""
    import torch  # not for --help

    torch.set_num_threads(1)


def is_secondary() -> bool:
    """Return whether Lightning started this process beside the first of a distributed training."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def check_numbers(*problems: str, **values: tuple[Any, float]) -> None:
    """Refuse arguments of an executor that are not ints of at least their least value.

    Args:
        problems: Other problems of the same call.
        values: Value and least value of each argument.

    Raises:
        EfatError: All of them at once.
    """
    raise_problems(
        [
            *problems,
            *(
                f"executor.{name}: {value!r} given; an int >= {least} is needed"
                for name, (value, least) in values.items()
                if type(value) is not int or value < least
            ),
        ]
    )


def missing_extra(name: str) -> EfatError:
    """Return the error for an executor whose package is not installed."""
    return EfatError(f"executor: {name} is not installed; pip install 'efat[{name}]'")
