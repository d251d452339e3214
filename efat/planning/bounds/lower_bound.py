"""Lower bounds on the price of any plan, each with its proof.

All bounds assume that the cost is *monotone*: if map A is a subset of map B, then
`cost(A) <= cost(B)`. Write `c(G)` for the price of a group (rules applied; rounding up and fixed
prices keep it monotone). Leaving out `max_groups` only lowers an optimum, so it is left out.

- `single_bound`: monotone cost only. Let a group hold at most K chips and sort the chips by their
  own price, highest first. The m-th most expensive group of a plan contains a chip at least as
  expensive as chip `(m-1) K + 1`, for the first `(m-1) K + 1` chips need m groups. Groups are not
  cheaper than their chips, so the sum over `m` is a bound. The most expensive chip alone is the
  case K = n.
- `cover_bound`: the cost depends on the map only through its number of faults, `c(G) = f(|F_G|)`
  (`CountCost`). The fused maps of a plan cover the union N of the fleet, so `sum |F_G| >= |N|`, and
  `f(t) >= rho t` with `rho = min f(t) / t` over the counts t that a group can have; the sum of the
  prices is at least `rho |N|`.
- `relax`: for values `u_i >= 0` with `u(G) <= c(G)` for every group, `sum_i u_i = sum_G u(G) <=
  sum_G c(G)` for every plan: weak duality of the set-partitioning relaxation. Column generation
  proposes `u`; all groups are then compared, listed one by one where they are few enough (the
  bound of the relaxation itself), or bounded branch by branch (`efat.planning.bounds.dual_bound`),
  which uses the fault counts too. A small fleet under a plain callable is listed by `relaxation`
  (`efat.planning.bounds.subsets`): monotone cost only.
- `whole_prices`: prices that are all multiples of a number make every plan's price a multiple.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from efat.planning.bounds.column_generation import Columns
from efat.planning.bounds.dual_bound import sampled_bound, searched_bound
from efat.planning.bounds.enumeration import list_groups, solve
from efat.planning.bounds.subsets import best_partition, can_list_all, relaxation, subset_prices
from efat.planning.cost import CountCost, Floats
from efat.planning.merge_forest import ChipIndices
from efat.planning.problem import Problem

MOST_SOLVED = 16
"""Most chips for which the optimum itself is the bound."""
MOST_SEARCHED = 150
"""Most chips for which groups of the whole fleet are generated."""
SAFETY = 1e-9
"""Relative amount by which bounds are lowered: far above the rounding of sums of floats."""


@dataclass(frozen=True)
class Relaxation:
    """Result of column generation.

    Args:
        bound: Proved lower bound on the price of any plan.
        columns: Groups worth choosing, and their dual values [chips]; None where the fleet is too
            large.
    """

    bound: float
    columns: tuple[Columns, Floats] | None = None


def lower_bound(problem: Problem, groups: Sequence[ChipIndices], full: bool) -> float:
    """Return the best bound (price units) that the fleet's size allows.

    Args:
        problem: The chips that may be grouped; without chips the bound is 0.
        groups: A plan, from whose groups column generation starts; any plan gives a valid bound.
        full: Try column generation, not only the bounds that compare no pair of chips.
    """
    if not len(problem):
        return 0.0
    bounds = [single_bound(problem), cover_bound(problem)]
    if full and can_list_all(problem) and len(problem) <= MOST_SOLVED:
        bounds.append(best_partition(subset_prices(problem))[1])
    elif full:
        bounds.append(relax(problem, groups).bound)
    return whole_prices(problem, max(bounds))


def relax(problem: Problem, groups: Sequence[ChipIndices]) -> Relaxation:
    """Bound by the set-partitioning relaxation; 0 where the cost is a plain callable of many chips.

    Args:
        problem: At least one chip.
        groups: Groups to start from, such as those of a plan.
    """
    if not isinstance(problem.cost, CountCost):
        listable = can_list_all(problem)
        return Relaxation(relaxation(subset_prices(problem), len(problem))[1] if listable else 0.0)
    if len(problem) > MOST_SEARCHED:
        return Relaxation(whole_prices(problem, sampled_bound(problem)))
    columns, listing = Columns(problem, groups), list_groups(problem)
    if listing is not None:
        values, bound = solve(listing, columns)
    else:
        bound = searched_bound(problem, columns)
        values = columns.values()
    return Relaxation(whole_prices(problem, bound), (columns, values))


def whole_prices(problem: Problem, bound: float) -> float:
    """Lower a bound by the rounding of floats, then raise it to the next possible sum of prices."""
    bound *= 1 - SAFETY
    if not isinstance(problem.cost, CountCost):
        return bound
    prices = problem.rules.prices(problem.cost.table)
    prices = prices[np.isfinite(prices)]
    if not np.array_equal(prices, np.floor(prices)) or prices.max(initial=0.0) > 2**52:
        return bound
    unit = int(np.gcd.reduce(prices.astype(np.int64)))
    return float(-(-np.ceil(bound) // unit) * unit) if unit else bound


def single_bound(problem: Problem) -> float:
    """Sum every K-th price of single chips, highest first; K is `max_members`."""
    descending = np.sort(problem.single_prices)[::-1]
    return float(descending[:: problem.max_members].sum())


def cover_bound(problem: Problem) -> float:
    """Price the union of the fleet at the lowest price per fault; 0 for a plain callable."""
    if not isinstance(problem.cost, CountCost):
        return 0.0
    union = int(np.bitwise_count(np.bitwise_or.reduce(problem.words, axis=0)).sum())
    counts = np.arange(max(1, int(problem.counts.min())), problem.cost.max_count + 1)
    if not len(counts):
        return 0.0
    rho = (problem.rules.prices(problem.cost.of_counts(counts)) / counts).min()
    return float(rho) * union
