"""Limits and prices that every planner honours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from efat.errors import raise_problems


@dataclass(frozen=True)
class Rules:
    """Limits and prices of a plan; the default is METHOD section 6, the total amount in steps.

    Args:
        max_groups: Models that may be stored; null (None): any number.
        max_members: Most chips in a group; null (None): any number.
        price_group: Fixed price of a group (evaluation, storage), in price units.
        price_step: Price of one retraining step, in price units.
        alone: Names of chips that must not share a model.
        eval_every: Amounts are rounded up to a multiple of this many steps, the interval between
            evaluations; null (None): amounts stay as the cost gives them.

    Raises:
        EfatError: A value out of range; all problems at once.

    >>> rules = Rules(price_group=5.0, eval_every=10)
    >>> rules.amount(12.0), rules.price(12.0), rules.amount(20.0)
    (20.0, 25.0, 20.0)
    """

    max_groups: int | None = None
    max_members: int | None = None
    price_group: float = 0.0
    price_step: float = 1.0
    alone: Sequence[str] = ()
    eval_every: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "alone", tuple(sorted(set(self.alone))))
        problems = [
            f"rules.{name}: {value!r} given; an int >= 1, or null for no limit, is needed"
            for name, value in (
                ("max_groups", self.max_groups),
                ("max_members", self.max_members),
                ("eval_every", self.eval_every),
            )
            if value is not None and (type(value) is not int or value < 1)
        ]
        problems += [
            f"rules.{name}: {value!r} given; a finite number >= 0 is needed"
            for name, value in (("price_group", self.price_group), ("price_step", self.price_step))
            if not 0 <= value < math.inf
        ]
        raise_problems(problems)

    def amounts(self, amounts_steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Round amounts [n] (steps, may be inf) up to whole evaluation intervals."""
        if self.eval_every is None:
            return amounts_steps
        # 20.000000000000004 steps are 20, not one interval more
        return np.ceil(amounts_steps / self.eval_every - 1e-9) * self.eval_every

    def prices(self, amounts_steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the prices of groups with these amounts [n], in price units; inf stays inf."""
        steps = self.amounts(amounts_steps)
        if self.price_step == 0:  # 0 * inf is not a number
            return np.where(np.isinf(steps), math.inf, self.price_group)
        return self.price_group + self.price_step * steps

    def amount(self, amount_steps: float) -> float:
        """Round one amount; see `amounts`."""
        return float(self.amounts(np.array([amount_steps]))[0])

    def price(self, amount_steps: float) -> float:
        """Price one group; see `prices`."""
        return float(self.prices(np.array([amount_steps]))[0])

    def name_problems(self, names: Iterable[str]) -> list[str]:
        """Return the problems with `alone`, for a fleet of chips with these names."""
        known = set(names)
        return [
            f"rules.alone: {name!r} given; no chip of the fleet has that name"
            for name in self.alone
            if name not in known
        ]

    def members_within(self, chips: int) -> int:
        """Return the most chips in a group, for a fleet of `chips`."""
        return chips if self.max_members is None else min(self.max_members, chips)


NO_RULES = Rules()
"""Any number of groups and members; the price is the total amount in steps."""
