"""Keep a tracker out of the way: in a thread of its own, and never the end of a campaign."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from efat.campaign.run_result import RunResult
from efat.reporting.tracking.base import RunInfo, Tracker, Training

PATIENCE_S = 120.0
"""How long the end of a campaign waits for a tracker that does not answer."""


class BackgroundTracker:
    """A tracker in a thread of its own; its first failure is said once and ends the tracking.

    Args:
        tracker: What is guarded.
        say: Tells the user.
        patience_s: How long `finish` waits.
    """

    def __init__(
        self, tracker: Tracker, say: Callable[[str], None], patience_s: float = PATIENCE_S
    ) -> None:
        self.tracker, self.say, self.patience_s = tracker, say, patience_s
        self.failed: str | None = None
        self.tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def begin(self, info: RunInfo) -> None:
        """Start, in the background."""
        self.tasks.put(lambda: self.tracker.begin(info))
        self.thread.start()

    def train(self, training: Training) -> None:
        """Log a training, in the background."""
        self.tasks.put(lambda: self.tracker.train(training))

    def finish(self, run: RunResult | None) -> None:
        """Log the results and wait for all that is still under way, but not for ever."""
        self.tasks.put(lambda: self.tracker.finish(run))
        self.tasks.put(None)
        self.thread.join(self.patience_s)
        if self.thread.is_alive():
            self.failed = f"no answer for {self.patience_s:g} s"
        if self.failed:
            self.say(
                f"tracking   failed, and was left off: {self.failed}; the results are in the files "
                "of the run"
            )

    def _work(self) -> None:
        while (task := self.tasks.get()) is not None:
            if self.failed:
                continue
            try:
                task()
            except Exception as error:  # a tracker may raise anything
                self.failed = " ".join(f"{type(error).__name__}: {error}".split())
