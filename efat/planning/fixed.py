"""Each chip on its own, all with one amount: what is done without a resilience map per chip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efat.chips import Chip
from efat.planning.base import Cost, Group, Plan, make_plan, split_salvageable


@dataclass(frozen=True)
class Fixed:
    """One amount for all, that of the dearest salvageable chip, so that it is enough for each."""

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return one group a chip; `seed` is not used."""
        good, unsalvageable = split_salvageable(chips, cost)
        amount = max((cost(chip.fault_map) for chip in good), default=0.0)
        return make_plan(
            [Group((chip.chip_id,), chip.fault_map, amount) for chip in good], unsalvageable
        )
