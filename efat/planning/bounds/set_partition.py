"""Make plans of generated groups: each chip in one of them, at the lowest total price.

Two methods complement each other. `choose` asks a mixed-integer solver (HiGHS) for the best
choice among the groups known: strong where groups are small. `dive` rounds the relaxation: it
takes the group with the largest share, then generates groups for the remaining chips: strong where
groups are large and nearly alike; on such fleets the solver took 15 s for plans that cost more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from efat.planning.bounds.column_generation import Columns, generate
from efat.planning.cost import Floats
from efat.planning.merge_forest import ChipIndices
from efat.planning.problem import Problem

MOST_NODES = 200
"""Most nodes of the solver's search; a time limit would make plans depend on the machine."""
MOST_COLUMNS = 3000
"""Most groups that the solver is given."""
MOST_MEMBERS = 5
"""Largest mean group size of the relaxation for which the solver is used."""
NEARLY_WHOLE, ROUNDS = 0.95, 6
"""Shares from here on count as whole; rounds of generation after each rounding."""


def choose(problem: Problem, columns: Columns, values: Floats) -> tuple[ChipIndices, ...]:
    """Return the cheapest choice, or no group where the solver is not used or finds none.

    Args:
        problem: The chips.
        columns: Groups to choose from.
        values: Dual values [chips]; the solver gets the groups of the least reduced cost.
    """
    prices = np.array(columns.prices)
    if len(problem) > MOST_MEMBERS * columns.solve()[1].sum():
        return ()
    reduced = prices - columns.matrix().T @ values
    kept = np.sort(np.argsort(reduced, kind="stable")[:MOST_COLUMNS])
    rows = [LinearConstraint(columns.matrix()[:, kept], lb=1)]
    if problem.max_groups < len(problem):
        rows.append(LinearConstraint(np.ones((1, len(kept))), ub=problem.max_groups))
    solved = milp(
        prices[kept],
        integrality=np.ones(len(kept)),
        bounds=Bounds(0, 1),
        constraints=rows,
        options={"node_limit": MOST_NODES},
    )
    if solved.x is None:
        return ()
    return _first_only([columns.groups[i] for i in kept[solved.x > 0.5].tolist()])


def dive(problem: Problem, columns: Columns) -> tuple[ChipIndices, ...]:
    """Round the relaxation group by group; ignores `max_groups`."""
    remaining, taken = np.arange(len(problem)), list[ChipIndices]()
    while len(remaining):
        part = problem.part(remaining)
        index = {int(chip): i for i, chip in enumerate(remaining)}
        known = [tuple(index[i] for i in g if i in index) for g in columns.groups]
        columns_remaining = Columns(part, [group for group in known if group])
        generate(part, columns_remaining, ROUNDS)
        _, shares = columns_remaining.solve()
        fixed = _disjoint(columns_remaining, shares)
        taken += [tuple(int(remaining[i]) for i in group) for group in fixed]
        placed = {i for group in fixed for i in group}
        remaining = remaining[[i not in placed for i in range(len(remaining))]]
    return _first_only(taken)


def _disjoint(columns: Columns, shares: Floats) -> list[ChipIndices]:
    """Take the group of the largest share, and disjoint ones of nearly whole shares."""
    order = np.argsort(-shares, kind="stable").tolist()
    taken, used = list[ChipIndices](), set[int]()
    for i in order:
        if taken and shares[i] < NEARLY_WHOLE:
            break
        if used.isdisjoint(columns.groups[i]):
            taken.append(columns.groups[i])
            used.update(columns.groups[i])
    return taken


def _first_only(groups: Sequence[ChipIndices]) -> tuple[ChipIndices, ...]:
    """Keep each chip only in the first group that holds it; the monotone cost does not rise.

    >>> _first_only([(0, 1), (1, 2), (1,)])
    ((0, 1), (2,))
    """
    seen, kept = set[int](), list[ChipIndices]()
    for group in groups:
        rest = tuple(i for i in group if i not in seen)
        seen.update(rest)
        if rest:
            kept.append(rest)
    return tuple(kept)
