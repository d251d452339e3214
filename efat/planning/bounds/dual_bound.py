"""Lower bounds by dual values of the set-partitioning relaxation, proved over all groups.

The proof does not trust the solver of the relaxation: where no group has a larger ratio
`u(G) / c(G)` than r, the values u / r overcharge none, and `sum u / r` is a bound for any u
(Farley 1990).
"""

from __future__ import annotations

import numpy as np

from efat.planning.bounds.column_generation import ROUNDS, Columns, generate
from efat.planning.bounds.proof import Prover
from efat.planning.cost import Floats
from efat.planning.problem import Problem

BRANCHES, FIRST_BRANCHES, WIDER = 3200, 400, 4
"""Effort of the proof: all branches; branches of the first searches, which find groups that the
generation missed; and the factor by which a search is longer after one that found none."""
MORE_ROUNDS = 6
"""Rounds of generation after a search that found groups; the values then change little."""
NEGLIGIBLE = 1e-9
"""Values below this share of the largest are noise of the solver and count as 0."""
MOST_CHIPS = 1500
"""Most chips for which the overlaps of all pairs are computed and stored (18 MB)."""
SAMPLE, SAMPLE_ROUNDS = 64, 8
"""Chips whose values are transferred to a larger fleet, and rounds spent on them."""
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
"""Powers of a chip's faults by which transferred values are lowered: a single branch bounds groups
of many small chips loosely."""


def searched_bound(problem: Problem, columns: Columns) -> float:
    """Generate values for this fleet, adding to `columns`, and bound how far they overcharge.

    Args:
        problem: Chips under a `CountCost`, few enough for a search: about a hundred.
        columns: Groups to start from, such as those of a plan.
    """
    prover, best, remaining, longest = _prover(problem), 0.0, BRANCHES, FIRST_BRANCHES
    values = generate(problem, columns, ROUNDS)
    while remaining > 0:
        values = np.where(values > NEGLIGIBLE * values.max(initial=0.0), values, 0.0)
        result = prover.search(values, min(longest, remaining))
        remaining -= result.branches
        best = max(best, float(values.sum()) / result.ratio)
        if columns.add(result.counterexamples):
            values = generate(problem, columns, MORE_ROUNDS)
        elif result.branches < longest or remaining <= longest:
            break  # all is proved, or no branches remain for a longer search
        else:
            longest *= WIDER
    return best


def sampled_bound(problem: Problem) -> float:
    """Transfer the values of a small sample by the number of faults; bound their overcharge.

    Cheaper than `searched_bound`, and looser: only the first branch is bounded. Of more than
    `MOST_CHIPS` chips it uses those with the most faults: leaving out chips only lowers an optimum.
    """
    if len(problem) > MOST_CHIPS:
        order = np.lexsort((np.arange(len(problem)), -problem.counts))
        return sampled_bound(problem.part(np.sort(order[:MOST_CHIPS])))
    prover, values = _prover(problem), _transferred_values(problem)
    smaller = problem.counts / max(1, int(problem.counts.max()))
    trials = (values * smaller**power for power in POWERS)
    return max(float(trial.sum()) / prover.root_bound(trial) for trial in trials)


def _prover(problem: Problem) -> Prover:
    table = problem.rules.prices(problem.count_cost.table)
    pes = problem.shape[0] * problem.shape[1]
    return Prover(problem.words, pes, table, problem.max_members)


def _transferred_values(problem: Problem) -> Floats:
    """Generate values for a sample spread over the fault counts, and interpolate over these."""
    order = np.lexsort((np.arange(len(problem)), problem.counts))
    chips = np.sort(order[np.linspace(0, len(problem) - 1, SAMPLE).astype(np.int64)])
    part = problem.part(chips)
    values = generate(part, Columns(part, []), SAMPLE_ROUNDS)
    rank = np.argsort(part.counts, kind="stable")
    spread = np.interp(problem.counts, part.counts[rank], values[rank])
    return np.minimum(spread, problem.single_prices)
