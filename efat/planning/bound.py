"""Lower bounds on the price of any plan, each with its proof.

All bounds assume that the cost is *monotone*: if map A is a subset of map B, then
`cost(A) <= cost(B)`. Write `c(G)` for the price of a group (rules applied; rounding up and fixed
prices keep it monotone). Leaving out `max_groups` only lowers an optimum, so it is left out.

- `single_bound`: monotone cost only. Let a group hold at most K chips and sort the chips by their
  own price, dearest first. The m-th dearest group of a plan contains a chip at least as dear as
  chip `(m-1) K + 1`, for the first `(m-1) K + 1` chips need m groups. Groups are not cheaper than
  their chips, so the sum over `m` is a bound. The dearest chip alone is the case K = n.
- `cover_bound`: the cost depends on the map only through its number of faults, `c(G) = f(|F_G|)`
  (`CountCost`). The fused maps of a plan cover the union N of the fleet, so `sum |F_G| >= |N|`, and
  `f(t) >= rho t` with `rho = min f(t) / t` over the counts t that a group can have; the sum of the
  prices is at least `rho |N|`.
- `dual_bound` (`efat.planning.duals`): for values `u_i >= 0` with `u(G) <= c(G)` for every group,
  `sum_i u_i = sum_G u(G) <= sum_G c(G)` for every plan: weak duality of the set-partitioning
  relaxation. Column generation proposes `u`; a proof of `u(G) <= c(G)` over all groups scales it.
  It uses the fault counts too.
- `relaxation` (`efat.planning.subsets`): the same by listing all groups of a small fleet; monotone
  cost only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from efat.planning.cost import CountCost
from efat.planning.duals import dual_bound
from efat.planning.forest import Places
from efat.planning.problem import Problem
from efat.planning.subsets import affordable, best_partition, relaxation, subset_prices

MOST_SOLVED = 16
"""Chips up to which the optimum itself is the bound."""
SAFETY = 1e-9
"""Relative amount by which bounds are lowered: far above the rounding of sums of floats."""


def lower_bound(problem: Problem, groups: Sequence[Places], full: bool) -> float:
    """Return the best bound (price units) that the fleet's size allows.

    Args:
        problem: The chips that may be grouped; none: 0.
        groups: A plan; its groups are a start for column generation and change no validity.
        full: Try column generation, not only the bounds that look at no pair of chips.
    """
    if not len(problem):
        return 0.0
    bounds = [single_bound(problem), cover_bound(problem)]
    if full and affordable(problem):
        prices = subset_prices(problem)
        exact = len(problem) <= MOST_SOLVED
        n = len(problem)
        bounds.append(best_partition(prices)[1] if exact else relaxation(prices, n)[1])
    elif full:
        bounds.append(dual_bound(problem, groups))
    return max(bounds) * (1 - SAFETY)


def single_bound(problem: Problem) -> float:
    """Sum every K-th price of the chips on their own, dearest first; K: most members of a group."""
    dearest_first = np.sort(problem.single_prices)[::-1]
    return float(dearest_first[:: problem.max_members].sum())


def cover_bound(problem: Problem) -> float:
    """Price the union of the fleet at the best price per fault; 0 for a plain callable."""
    if not isinstance(problem.cost, CountCost):
        return 0.0
    union = int(np.bitwise_count(np.bitwise_or.reduce(problem.words, axis=0)).sum())
    counts = np.arange(max(1, int(problem.counts.min())), problem.cost.max_count + 1)
    if not len(counts):
        return 0.0
    rho = (problem.rules.prices(problem.cost.of_counts(counts)) / counts).min()
    return float(rho) * union
