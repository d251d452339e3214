"""Shared parts of the executors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field

Item = TypeVar("Item")
Output = TypeVar("Output")
Count = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[int, Field(ge=1, strict=True)]


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


def missing_extra(name: str) -> str:
    """Return the problem of an executor whose package is not installed."""
    return f"executor: {name} is not installed; pip install 'efat[{name}]'"
