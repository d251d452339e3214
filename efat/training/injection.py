"""Faults that enter a training part by part, as in TRe-Map (DSD 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efat.hardware import FaultMap
from efat.seeds import generator


@dataclass(frozen=True)
class Injection:
    """Faults of a training at each step; a function of the step alone.

    Args:
        parts: Number of parts; their sizes differ by one fault at most.
        every_steps: Optimizer steps between two parts; the first enters at step 0.
        seed: Of the order of the faults.
    """

    parts: int
    every_steps: int
    seed: int

    def injected(self, step: int) -> int:
        """Return the number of parts that have entered at an optimizer step.

        >>> tuple(Injection(3, 8, 0).injected(step) for step in (0, 7, 8, 16, 80))
        (1, 1, 2, 3, 3)
        """
        return min(self.parts, 1 + step // self.every_steps)

    def fault_map(self, whole: FaultMap, injected: int) -> FaultMap:
        """Return the first `injected` parts of the fault map `whole`."""
        faults = np.flatnonzero(whole.faulty)
        order = generator(self.seed, "inject").permutation(faults)
        grid = np.zeros(whole.faulty.size, dtype=bool)
        grid[order[: -(-len(faults) * injected // self.parts)]] = True
        return FaultMap(grid.reshape(whole.shape))
