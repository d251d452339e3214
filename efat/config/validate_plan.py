"""What the number of chips alone says about a plan: refused before an analysis is paid for.

Chips beyond the highest fault rate of the analysis are unsalvageable for sure and do not count.
Others may turn out so too, but a run that only works if they do is refused all the same.
"""

from __future__ import annotations

from efat.hardware import Fleet
from efat.planning import (
    MOST_ASKED,
    MOST_COUNTED,
    EarlyStopping,
    Exact,
    Fixed,
    Individual,
    Planner,
    Rules,
    Single,
)


def plan_problems(
    fleet: Fleet, planner: Planner, rules: Rules, highest_rate: float, counted: bool
) -> list[str]:
    """Return why no plan of this planner can exist.

    Args:
        fleet: The chips.
        planner: Who plans.
        rules: Limits of the plan.
        highest_rate: Chips with more faulty PEs are unsalvageable; 1 if that is not known.
        counted: Whether the number of faults decides the amount (severity `array_rate`).
    """
    names = {chip.chip_id for chip in fleet}
    problems = [
        f"rules.alone: {name!r} given; no chip of the fleet has that name"
        for name in rules.alone
        if name not in names
    ]
    left = [c.chip_id for c in fleet if c.fault_map.fault_rate <= highest_rate]
    alone = len({*rules.alone} & {*left})
    free = len(left) - alone
    most = MOST_COUNTED if counted else MOST_ASKED
    if isinstance(planner, Exact) and free > most:
        problems.append(
            f"planner: exact was given {free} chips that may be grouped; at most {most} with this "
            "severity are allowed; use planner=min_cost"
        )
    return problems + _room_problems(free, alone, planner, rules)


def _room_problems(free: int, alone: int, planner: Planner, rules: Rules) -> list[str]:
    """Return why `free` chips that may be grouped and `alone` others find no room."""
    name = type(planner).__name__
    largest = rules.members_within(free)
    if isinstance(planner, Individual | Fixed | EarlyStopping):
        largest = min(largest, 1)
    problems = []
    if isinstance(planner, Single) and free > largest:
        problems.append(
            f"rules.max_members: {rules.max_members} given; {name} makes a group of {free}; use "
            "another planner"
        )
    least = alone + (-(-free // largest) if largest else 0)
    if rules.max_groups is not None and rules.max_groups < least:
        problems.append(
            f"rules.max_groups: {rules.max_groups} given; {name} puts {free} chips in groups of "
            f"at most {largest} and {alone} alone, which takes at least {least}; raise it"
        )
    return problems
