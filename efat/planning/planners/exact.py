"""The cheapest possible plan, for small fleets: set partitioning.

`min sum c(G) x_G` with every chip in exactly one group. All groups are priced, and a dynamic
programme over subsets finds the best partition. A mixed-integer solver (HiGHS) is used only where
that has more groups than `max_groups` allows: groups whose reduced cost under the relaxation
exceeds the gap between a heuristic plan and the bound cannot be in a better plan and are left out.
The dynamic programme comes first because it needs no tolerance and because the relaxation of small
fleets is weak: HiGHS took 28 s on 12 chips that it settles in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from efat.errors import EfatError
from efat.planning.bounds.subsets import (
    MOST_ASKED,
    MOST_COUNTED,
    best_partition,
    chips_of_subset,
    relaxation,
    subset_prices,
    subset_sums,
)
from efat.planning.cost import Floats
from efat.planning.merge_forest import ChipIndices
from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.planners.local_search import LocalSearch
from efat.planning.problem import Problem

TOLERANCE = 1e-6
"""Relative tolerance of the solver, by which its bound is lowered."""


@dataclass(frozen=True)
class Exact(GroupingPlanner):
    """Find the optimum, for up to 20 chips (11 where the cost is a plain callable)."""

    description: ClassVar[str] = "the cheapest plan there is"
    max_chips: ClassVar[int] = MOST_COUNTED
    max_chips_called: ClassVar[int] = MOST_ASKED

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return groups of least price; `seed` only breaks ties among equals.

        Raises:
            EfatError: No plan within `max_groups`.
        """
        prices = subset_prices(problem)
        groups, price = best_partition(prices)
        if groups and len(groups) <= problem.max_groups:
            return Grouping(groups, bound=price)
        return self._within_max_groups(problem, prices, seed)

    def _within_max_groups(self, problem: Problem, prices: Floats, seed: int) -> Grouping:
        values, bound = relaxation(prices, len(problem))
        start = LocalSearch(iterations=200).group(problem, seed).groups
        upper = np.inf
        if len(start) <= problem.max_groups:
            upper = float(problem.prices(np.stack([problem.fuse(g) for g in start])).sum())
        reduced = prices - subset_sums(values)
        slack = upper - bound + TOLERANCE * (1 + abs(bound))
        useful = np.flatnonzero(np.isfinite(prices) & (reduced <= slack))
        groups, proved = partition(
            prices[useful], [chips_of_subset(s) for s in useful.tolist()], problem
        )
        return Grouping(groups, bound=max(bound, min(proved, upper)))


def partition(
    prices: Floats, groups: list[ChipIndices], problem: Problem
) -> tuple[tuple[ChipIndices, ...], float]:
    """Choose groups of least total price that contain each chip once.

    Returns:
        The groups, and the solver's lower bound over these groups, lowered by its tolerance.

    Raises:
        EfatError: No choice of at most `max_groups` groups contains every chip.
    """
    rows = np.concatenate([np.array(group) for group in groups])
    cols = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    holds = csr_array((np.ones(len(rows)), (rows, cols)), shape=(len(problem), len(groups)))
    solved = milp(
        prices,
        integrality=np.ones(len(groups)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(holds, 1, 1),
            LinearConstraint(np.ones((1, len(groups))), 0, problem.max_groups),
        ],
        options={"mip_rel_gap": 0.0},
    )
    if solved.x is None:
        raise EfatError(
            f"rules.max_groups: {problem.rules.max_groups} given; no plan with so few groups "
            "is within the resilience map; raise it"
        )
    chosen = tuple(groups[i] for i in np.flatnonzero(solved.x > 0.5).tolist())
    proved = float(solved.mip_dual_bound)
    return chosen, proved - TOLERANCE * (1 + abs(proved))
