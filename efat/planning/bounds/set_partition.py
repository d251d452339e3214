"""Plans made of generated groups: choose among them what serves every chip at the least price.

Two ways that complement each other. `choose` asks a mixed-integer solver (HiGHS) for the best
choice among the groups known: strong where groups are small. `dive` rounds the relaxation: it
takes the group with the largest share, then generates groups for the chips that are left: strong
where groups are large and nearly alike; there the solver took 15 s for plans that cost more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from efat.planning.bounds.column_generation import Columns, generate
from efat.planning.cost import Floats
from efat.planning.merge_forest import ChipIndices
from efat.planning.problem import Problem

NODES = 200
"""Nodes of the solver's search: a count, not a time, so that a plan depends on the seed alone."""
MOST_COLUMNS = 3000
"""Groups that the solver is given at the most."""
MOST_MEMBERS = 5
"""Chips that a group of the relaxation has on average, up to which the solver is asked."""
SHARE, ROUNDS = 0.95, 6
"""Share from which groups are taken together, and rounds of generation after each taking."""


def choose(problem: Problem, columns: Columns, values: Floats) -> tuple[ChipIndices, ...]:
    """Return the cheapest choice found, or no group where the solver is not asked or finds none.

    Args:
        problem: The chips.
        columns: Groups to choose from.
        values: Dual values [chips]: groups of the least reduced cost are offered.
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
        options={"node_limit": NODES},
    )
    if solved.x is None:
        return ()
    return _once([columns.groups[i] for i in kept[solved.x > 0.5].tolist()])


def dive(problem: Problem, columns: Columns) -> tuple[ChipIndices, ...]:
    """Round the relaxation group by group; ignores `max_groups`."""
    left, taken = np.arange(len(problem)), list[ChipIndices]()
    while len(left):
        part = problem.part(left)
        place = {int(chip): i for i, chip in enumerate(left)}
        known = [tuple(place[i] for i in g if i in place) for g in columns.groups]
        columns_left = Columns(part, [group for group in known if group])
        generate(part, columns_left, ROUNDS)
        _, shares = columns_left.solve()
        fixed = _disjoint(columns_left, shares)
        taken += [tuple(int(left[i]) for i in group) for group in fixed]
        gone = {i for group in fixed for i in group}
        left = left[[i not in gone for i in range(len(left))]]
    return _once(taken)


def _disjoint(columns: Columns, shares: Floats) -> list[ChipIndices]:
    """Take the group of the largest share, and others of nearly whole shares that fit beside it."""
    order = np.argsort(-shares, kind="stable").tolist()
    taken, used = list[ChipIndices](), set[int]()
    for i in order:
        if taken and shares[i] < SHARE:
            break
        if used.isdisjoint(columns.groups[i]):
            taken.append(columns.groups[i])
            used.update(columns.groups[i])
    return taken


def _once(groups: Sequence[ChipIndices]) -> tuple[ChipIndices, ...]:
    """Leave each chip in the first group that holds it; prices do not rise, the cost is monotone.

    >>> _once([(0, 1), (1, 2), (1,)])
    ((0, 1), (2,))
    """
    seen, kept = set[int](), list[ChipIndices]()
    for group in groups:
        rest = tuple(i for i in group if i not in seen)
        seen.update(rest)
        if rest:
            kept.append(rest)
    return tuple(kept)
