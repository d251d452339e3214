"""Each chip on its own, trained until it meets the constraint: what is done without an analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from efat.hardware import Chip
from efat.planning.cost import Cost
from efat.planning.plan import Group, Plan


@dataclass(frozen=True)
class EarlyStopping:
    """A group a chip, of amount 0 and trained on from there: the cost is not asked, nor the rules.

    No chip is unsalvageable beforehand: nothing was analysed that could say so.
    """

    name: ClassVar[str] = "early_stop"
    needs_map: ClassVar[bool] = False
    without: ClassVar[tuple[str, ...]] = ()

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return one group a chip, by name; `cost` and `seed` are not used."""
        named = sorted(chips, key=lambda chip: chip.chip_id)
        groups = (Group((chip.chip_id,), chip.fault_map, 0.0) for chip in named)
        return Plan(tuple(groups), (), until_met=True, without=self.without)


class NoRemap(EarlyStopping):
    """The same on hardware that cannot remap: every channel stays on its own column."""

    name: ClassVar[str] = "no_remap"
    without: ClassVar[tuple[str, ...]] = ("remap",)
