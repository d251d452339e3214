"""What every planner takes and returns: chips and a cost in, groups with fused maps out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Protocol

from efat.chips import Chip
from efat.faults import FaultMap

Cost = Callable[[FaultMap], float]
"""Retraining amount (steps) that a fault map calls for; inf beyond the resilience map."""


@dataclass(frozen=True)
class Group:
    """Chips that share one retraining.

    Args:
        members: Chip names, sorted.
        fused: Union (OR) of the members' fault maps.
        amount_steps: Retraining amount, optimizer steps; inf: beyond the resilience map.
    """

    members: tuple[str, ...]
    fused: FaultMap
    amount_steps: float


@dataclass(frozen=True)
class Plan:
    """Every chip of a fleet exactly once: in a group, or named as unsalvageable.

    Args:
        groups: Dearest first.
        unsalvageable: Names of chips that no amount within the budget repairs, sorted.
    """

    groups: tuple[Group, ...]
    unsalvageable: tuple[str, ...]

    @property
    def total_steps(self) -> float:
        """Retraining amount of all groups, optimizer steps."""
        return sum(group.amount_steps for group in self.groups)


class Planner(Protocol):
    """Anything that turns chips and a cost into a plan; deterministic under `seed`."""

    def __call__(self, chips: Sequence[Chip], cost: Cost, seed: int) -> Plan:
        """Return a plan that does not depend on the order of `chips`."""
        ...


def make_group(chips: Sequence[Chip], cost: Cost) -> Group:
    """Fuse the maps of `chips` and ask `cost` for the amount."""
    fused = reduce(or_, (chip.fault_map for chip in chips))
    return Group(tuple(sorted(chip.chip_id for chip in chips)), fused, cost(fused))


def merge(a: Group, b: Group, cost: Cost) -> Group:
    """Fuse two groups into one."""
    fused = a.fused | b.fused
    return Group(tuple(sorted(a.members + b.members)), fused, cost(fused))


def reward(a: Group, b: Group, merged: Group) -> float:
    """Return what merging saves: `E(a) + E(b) - E(a|b)`; -inf if the merged map is infeasible."""
    return a.amount_steps + b.amount_steps - merged.amount_steps


def split_salvageable(chips: Iterable[Chip], cost: Cost) -> tuple[list[Chip], tuple[str, ...]]:
    """Return the salvageable chips in the order of their names, and the names of the others."""
    ordered = sorted(chips, key=lambda chip: chip.chip_id)
    good = [chip for chip in ordered if cost(chip.fault_map) < math.inf]
    names = {chip.chip_id for chip in good}
    return good, tuple(chip.chip_id for chip in ordered if chip.chip_id not in names)


def make_plan(groups: Iterable[Group], unsalvageable: tuple[str, ...]) -> Plan:
    """Return a plan with its groups in the one canonical order."""
    ordered = sorted(groups, key=lambda group: (-group.amount_steps, group.members))
    return Plan(tuple(ordered), unsalvageable)
