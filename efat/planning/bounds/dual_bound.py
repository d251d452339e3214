"""A lower bound by dual values of the set-partitioning relaxation, proved over all groups.

What the solver of the relaxation returns is trusted for nothing: where no group has a larger ratio
`u(G) / c(G)` than r, the values u / r overcharge none, and `sum u / r` is a bound, whatever u is
(Farley 1990).
"""

from __future__ import annotations

import numpy as np

from efat.planning.bounds.column_generation import ROUNDS, Columns, generate
from efat.planning.bounds.proof import Prover
from efat.planning.cost import Floats
from efat.planning.problem import Problem

BRANCHES, FIRST_BRANCHES, WIDER = 3200, 400, 4
"""Effort of the proof: branches in all, those of the first searches, which find groups that the
generation missed, and by how much a search is longer than the one before that found none."""
MORE_ROUNDS = 6
"""Rounds of generation after a search that found groups: the values change little by then."""
NEGLIGIBLE = 1e-9
"""Values below this share of the largest one are noise of the solver, and count as 0."""
MOST_CHIPS = 1500
"""Chips up to which all pairs are looked at, and their overlaps kept (18 MB)."""
SAMPLE, SAMPLE_ROUNDS = 64, 8
"""Chips whose values are carried over to a larger fleet, and rounds spent on them."""
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
"""Powers of a chip's faults by which carried values are lowered: of groups of many small chips one
branch alone knows little."""


def searched_bound(problem: Problem, columns: Columns) -> float:
    """Generate values for the very fleet, adding to `columns`; bound how far they overcharge.

    Args:
        problem: Chips under a `CountCost`, few enough for a search: about a hundred.
        columns: Groups to start from, such as those of a plan.
    """
    prover, best, left, most = _prover(problem), 0.0, BRANCHES, FIRST_BRANCHES
    values = generate(problem, columns, ROUNDS)
    while left > 0:
        values = np.where(values > NEGLIGIBLE * values.max(initial=0.0), values, 0.0)
        verdict = prover.search(values, min(most, left))
        left -= verdict.branches
        best = max(best, float(values.sum()) / verdict.ratio)
        if columns.add(verdict.counterexamples):
            values = generate(problem, columns, MORE_ROUNDS)
        elif verdict.branches < most or left <= most:
            break  # all is proved, or no longer search is left
        else:
            most *= WIDER
    return best


def sampled_bound(problem: Problem) -> float:
    """Carry the values of a small sample over by the number of faults; bound their overcharge.

    Cheaper than `searched_bound`, and looser: only the first branch is looked at. Of more than
    `MOST_CHIPS` chips those with the most faults: leaving out chips only lowers an optimum.
    """
    if len(problem) > MOST_CHIPS:
        order = np.lexsort((np.arange(len(problem)), -problem.counts))
        return sampled_bound(problem.part(np.sort(order[:MOST_CHIPS])))
    prover, values = _prover(problem), _carry_over(problem)
    smaller = problem.counts / max(1, int(problem.counts.max()))
    tried = (values * smaller**power for power in POWERS)
    return max(float(trial.sum()) / prover.root_bound(trial) for trial in tried)


def _prover(problem: Problem) -> Prover:
    table = problem.rules.prices(problem.count_cost.table)
    pes = problem.shape[0] * problem.shape[1]
    return Prover(problem.words, pes, table, problem.max_members)


def _carry_over(problem: Problem) -> Floats:
    """Generate values for a sample spread over the fault counts, and interpolate over these."""
    order = np.lexsort((np.arange(len(problem)), problem.counts))
    chips = np.sort(order[np.linspace(0, len(problem) - 1, SAMPLE).astype(np.int64)])
    part = problem.part(chips)
    values = generate(part, Columns(part, []), SAMPLE_ROUNDS)
    rank = np.argsort(part.counts, kind="stable")
    spread = np.interp(problem.counts, part.counts[rank], values[rank])
    return np.minimum(spread, problem.single_prices)
