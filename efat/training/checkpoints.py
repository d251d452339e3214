"""Checkpoints of unfinished trainings: an interrupted training resumes, equal to the bit.

Lightning saves and restores weights, optimizer, schedule, callbacks and its loops; this module adds
the order of the samples and the state of torch's generators.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch.utils.data import DataLoader

LIGHTNING = version("pytorch_lightning")
State = dict[str, Any]
Start = tuple[torch.Tensor, torch.Tensor]
"""States of torch's generator: before a pass over a loader, and before its first batch."""


class Checkpoints(NamedTuple):
    """Folder of one training's checkpoints, and the optimizer steps between two.

    A file is named `<version>-<step>-<sha256>.ckpt`: Lightning's version (another one does not read
    it), the step and a hash of the content. It is renamed into place when it is complete.
    """

    folder: Path
    every_steps: int

    def latest(self) -> Path | None:
        """Return the newest undamaged checkpoint, if there is one."""
        for path in sorted(self.folder.glob(f"{LIGHTNING}-*.ckpt"), reverse=True):
            with contextlib.suppress(FileNotFoundError):
                if hashlib.sha256(path.read_bytes()).hexdigest() == path.stem.split("-")[-1]:
                    return path
                sys.stderr.write(f"damaged checkpoint, not used: {path}\n")
        return None

    def save(self, trainer: pl.Trainer) -> None:
        """Write the state of a training, and remove the previous checkpoint.

        Raises:
            OSError: The disk is full; the previous checkpoint stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{os.getpid()}"
        try:
            trainer.save_checkpoint(partial)  # all processes of the training take part
            if not trainer.is_global_zero:
                return
            with partial.open("rb") as stream:
                digest = hashlib.sha256(stream.read()).hexdigest()
                os.fsync(stream.fileno())
            name = f"{LIGHTNING}-{trainer.global_step:09d}-{digest}.ckpt"
            partial.replace(self.folder / name)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        for path in self.folder.glob("*.ckpt"):
            if path.name != name:
                path.unlink(missing_ok=True)


class Checkpointer(pl.Callback):
    """Save a training every so many steps, at points from which Lightning resumes exactly.

    These are the end of a batch, or of the validation after it; after the last batch of an epoch,
    the next batch is used instead. It must be the last callback.

    Args:
        checkpoints: Folder and interval.
        evaluates_at: Returns whether the training validates at an optimizer step.
        begin: Begin of this attempt, by `time.perf_counter`.
    """

    def __init__(
        self, checkpoints: Checkpoints, evaluates_at: Callable[[int], bool], begin: float
    ) -> None:
        self.checkpoints, self.evaluates_at = checkpoints, evaluates_at
        self.saved_step, self.begin = 0, begin
        self.earlier_s = 0.0
        """Training time of the interrupted attempts."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self._is_due(trainer) and not self._validates_next(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting and self._is_due(trainer) and self._validates_next(trainer):
            self._save(trainer)

    def state_dict(self) -> State:
        return {"elapsed_s": self.earlier_s + time.perf_counter() - self.begin}

    def load_state_dict(self, state_dict: State) -> None:
        self.earlier_s = state_dict["elapsed_s"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.saved_step = trainer.global_step

    def _validates_next(self, trainer: pl.Trainer) -> bool:
        return self.evaluates_at(trainer.global_step)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        steps = trainer.global_step
        whole = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return (
            steps - self.saved_step >= self.checkpoints.every_steps
            and steps < trainer.max_steps
            and not trainer.is_last_batch
            and not trainer.should_stop  # an attempt resumed at this point would not stop
            and whole % trainer.accumulate_grad_batches == 0
        )

    def _save(self, trainer: pl.Trainer) -> None:
        self.saved_step = trainer.global_step
        self.checkpoints.save(trainer)


class ResumableLoader:
    """A loader that resumes in the middle of a pass, with the next samples.

    It keeps the state of torch's generator at the start of each pass. To resume, it repeats the
    passes without their computation, so that a generator of the loader's own has the same state.

    Args:
        loader: Any iterable with a length; its sampler and other attributes stay visible.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.starts: tuple[Start, ...] = ()
        self.batches = 0
        self.resumed: State | None = None
        # Lightning begins a pass over each torch loader to test it; that would use a random number.
        self.test_pass = isinstance(loader, DataLoader)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not set yet while it is copied
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __len__(self) -> int:
        """Count the batches of one pass."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """Go through the samples once."""
        if self.test_pass:
            self.test_pass = False
            return iter(())
        state, self.resumed = self.resumed, None
        if state is not None:
            return self._resume(state)
        before = torch.get_rng_state()
        return self._begin(iter(self.loader), before)

    def _begin(self, batches: Iterator[Any], before: torch.Tensor) -> Iterator[Any]:
        """Yield a pass; a pass counts once its first batch is taken (Lightning tests loaders).

        Loaders use random numbers when the iterator is made, at its first batch, or both.
        """
        self.starts, self.batches = (*self.starts, (before, torch.get_rng_state())), 0
        yield from self._count(batches)

    def _resume(self, state: State) -> Iterator[Any]:
        self.starts, self.batches = state["starts"], state["batches"]
        for start in self.starts[:-1]:
            _skip(self._replay(start), len(self))
        rest = self._replay(self.starts[-1])
        _skip(rest, self.batches)
        return self._go_on(rest, state)

    def _replay(self, start: Start) -> Iterator[Any]:
        """Begin a pass as it began the first time."""
        torch.set_rng_state(start[0])
        batches: Iterator[Any] = iter(self.loader)
        torch.set_rng_state(start[1])
        return batches

    def _go_on(self, rest: Iterator[Any], state: State) -> Iterator[Any]:
        torch.set_rng_state(state["generator"])  # no random number is used before the batch
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])
        yield from self._count(rest)

    def _count(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self.batches += 1
            yield batch

    def state_dict(self) -> State:
        """Return its position; called when Lightning saves a checkpoint."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {
            "starts": self.starts,
            "batches": self.batches,
            "generator": torch.get_rng_state(),
            "cuda": cuda,
        }

    def load_state_dict(self, state_dict: State) -> None:
        """Resume from that position at the next pass."""
        self.resumed = state_dict


def _skip(batches: Iterable[Any], count: int) -> None:
    for _, _batch in zip(range(count), batches, strict=False):
        pass


def can_resume(data: pl.LightningDataModule, processes: int) -> bool:
    """Return whether a training can resume in the middle of a pass.

    It cannot in several processes with a torch `DataLoader`: Lightning replaces its sampler in each
    process, but only if the loader is not wrapped.
    """
    if processes == 1:
        return True
    data.prepare_data()
    data.setup("fit")
    return not isinstance(data.train_dataloader(), DataLoader)


def make_resumable(data: pl.LightningDataModule) -> None:
    """Make the training loader of a data module resume in the middle of a pass."""
    build = data.train_dataloader
    data.train_dataloader = lambda: ResumableLoader(build())  # type: ignore[method-assign]
