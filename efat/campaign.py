"""Which units of work exist, which are done, and running the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from efat.fit import EvaluationJob, TrainingJob
from efat.progress import Progress
from efat.store import Result, Store, content_key

Job = TrainingJob | EvaluationJob


class Executor(Protocol):
    """See `efat.executors`."""

    workers: int

    def start(self) -> None: ...
    def run(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Any: ...


@dataclass
class Campaign:
    """Run units of work through an executor, keep their results in a store.

    Args:
        store: Where results are looked up and kept.
        executor: Where missing units run.
        progress: What the user sees meanwhile.
    """

    store: Store
    executor: Executor
    progress: Progress
    computed: dict[str, int] = field(default_factory=dict)
    """Units computed in this campaign, by stage; the others were found in the store."""

    def run(
        self, stage: str, function: Callable[[Any, Store], Result], jobs: Sequence[Job]
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return key and values of every job, in the order of `jobs`; computes what is missing."""
        keys = [content_key(stage, job) for job in jobs]
        found = {key: self.store.read(stage, key) for key in set(keys)}
        missing = {k: j for k, j in zip(keys, jobs, strict=True) if found[k] is None}
        names = sorted(missing, key=lambda key: (-missing[key].cost_steps, key))  # longest first
        self.computed[stage] = self.computed.get(stage, 0) + len(names)
        self.progress.begin(stage, sum(missing[key].cost_steps for key in names), len(names))
        work = partial(_run_job, function, self.store)
        for index, result in self.executor.run(work, [missing[key] for key in names]):
            self.store.write(stage, names[index], result)
            found[names[index]] = result.values
            self.progress.advance(missing[names[index]].cost_steps)
        return [(key, found[key] or {}) for key in keys]


def _run_job(function: Callable[[Any, Store], Result], store: Store, job: Job) -> Result:
    return function(job, store)
