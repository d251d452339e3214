"""eFAT-style greedy grouping and fusion (METHOD section 6; Hanif & Shafique, arXiv 2304.12949).

The rule is ours, in the manner of the paper, whose full text was not at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from efat.chips import Chip
from efat.errors import raise_problems
from efat.planning.base import (
    Cost,
    Group,
    Plan,
    make_group,
    make_plan,
    merge,
    reward,
    split_salvageable,
)
from efat.seeds import generator


@dataclass(frozen=True)
class Greedy:
    """Sweep the groups, dearest first; each takes the best of `k` candidate partners.

    Args:
        k: Candidates that a group draws; null (None) looks at every other group.
        max_sweeps: Sweeps at the most; a sweep that merges nothing ends the search.

    Raises:
        EfatError: A value below 1; all problems at once.
    """

    k: int | None = None
    max_sweeps: int = 10

    def __post_init__(self) -> None:
        raise_problems(
            f"planner.{name}: {value!r} given; an int >= 1 is needed"
            for name, value in (("k", self.k), ("max_sweeps", self.max_sweeps))
            if not (name == "k" and value is None) and (type(value) is not int or value < 1)
        )

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return the plan reached from one group a chip; draws on the stream "plan" of `seed`."""
        good, unsalvageable = split_salvageable(chips, cost)
        groups = make_plan([make_group([chip], cost) for chip in good], unsalvageable).groups
        rng = generator(seed, "plan")
        for _ in range(self.max_sweeps):
            swept = self._sweep(groups, cost, rng)
            if len(swept) == len(groups):
                break
            groups = swept
        return make_plan(groups, unsalvageable)

    def _sweep(
        self, groups: tuple[Group, ...], cost: Cost, rng: np.random.Generator
    ) -> tuple[Group, ...]:
        """Give each group, dearest first, one chance to merge; merged groups wait for the next."""
        waiting, done = list(groups), []
        while waiting:
            group = waiting.pop(0)
            partner, merged = self._best_partner(group, waiting, cost, rng)
            if partner is not None:
                waiting.remove(partner)
            done.append(merged)
        return make_plan(done, ()).groups

    def _best_partner(
        self, group: Group, others: list[Group], cost: Cost, rng: np.random.Generator
    ) -> tuple[Group | None, Group]:
        """Return the partner of the best positive reward and the merged group, or (None, group)."""
        count = len(others) if self.k is None else min(self.k, len(others))
        drawn = rng.permutation(len(others))[:count]
        best, partner, merged = 0.0, None, group
        for other in (others[i] for i in sorted(drawn)):
            candidate = merge(group, other, cost)
            gain = reward(group, other, candidate)
            if gain > best:
                best, partner, merged = gain, other, candidate
        return partner, merged
