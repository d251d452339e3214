"""Each chip on its own, with just the amount it needs (Reduce, DATE 2023, arXiv 2305.12595)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efat.chips import Chip
from efat.planning.base import Cost, Plan, make_group, make_plan, split_salvageable


@dataclass(frozen=True)
class Individual:
    """Resilience-driven amounts without grouping."""

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return one group a chip; `seed` is not used."""
        good, unsalvageable = split_salvageable(chips, cost)
        return make_plan([make_group([chip], cost) for chip in good], unsalvageable)
