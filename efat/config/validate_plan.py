"""Refuse, before an analysis is paid for, what the number of chips alone makes impossible.

Chips beyond the highest fault rate of the analysis are unsalvageable for sure and do not count.
Others may turn out so too, but a run that only works if they do is refused all the same.
"""

from __future__ import annotations

from efat.hardware import Fleet
from efat.planning import Planner, Rules, info_of


def plan_problems(
    fleet: Fleet,
    planner: Planner,
    rules: Rules,
    highest_rate: float,
    counted: bool,
    key: str = "planner",
) -> list[str]:
    """Return why no plan of this planner can exist.

    Args:
        fleet: The chips.
        planner: The planner.
        rules: Limits of the plan.
        highest_rate: Chips with more faulty PEs are unsalvageable; 1 if that is not known.
        counted: Whether the number of faults decides the amount (severity `array_rate`).
        key: The configuration key that names the planner.
    """
    usable = {c.chip_id for c in fleet if c.fault_map.fault_rate <= highest_rate}
    alone = len(usable & {*rules.alone})
    return rules.name_problems(chip.chip_id for chip in fleet) + info_of(planner).limit_problems(
        rules, len(usable) - alone, alone, counted, key
    )
