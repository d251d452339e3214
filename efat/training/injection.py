"""Faults that come into a training part by part, as TRe-Map (DSD 2021) does with many of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efat.hardware import FaultMap
from efat.seeds import generator


@dataclass(frozen=True)
class Injection:
    """Which faults a training is under at which step; a function of the step alone.

    Args:
        parts: Into so many parts, of equal size but for one fault, the faults are divided.
        every_steps: Optimizer steps between two parts; the first is there from the beginning.
        seed: Of the order of the faults.
    """

    parts: int
    every_steps: int
    seed: int

    def injected(self, step: int) -> int:
        """Return how many parts are there at an optimizer step.

        >>> [Injection(3, 8, 0).injected(step) for step in (0, 7, 8, 16, 80)]
        [1, 1, 2, 3, 3]
        """
        return min(self.parts, 1 + step // self.every_steps)

    def fault_map(self, whole: FaultMap, injected: int) -> FaultMap:
        """Return the first parts of `whole`; each covers those before it."""
        faults = np.flatnonzero(whole.faulty)
        order = generator(self.seed, "inject").permutation(faults)
        grid = np.zeros(whole.faulty.size, dtype=bool)
        grid[order[: -(-len(faults) * injected // self.parts)]] = True
        return FaultMap(grid.reshape(whole.shape))
