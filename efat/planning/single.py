"""One group of all chips, one retraining (TRe-Map, DSD 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efat.chips import Chip
from efat.planning.base import Cost, Plan, make_group, make_plan, split_salvageable


@dataclass(frozen=True)
class Single:
    """All salvageable chips in one group; its amount is inf where the fused map is too much."""

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return one group; `seed` is not used."""
        good, unsalvageable = split_salvageable(chips, cost)
        return make_plan([make_group(good, cost)] if good else [], unsalvageable)
