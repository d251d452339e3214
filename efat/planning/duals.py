"""A lower bound by dual values of the set-partitioning relaxation, proved over all groups.

What the solver of the relaxation returns is trusted for nothing: values that are proved for
`(1 - slack) u` give the bound `(1 - slack) sum u`, whatever `u` is (Farley 1990).
"""

from __future__ import annotations

import numpy as np

from efat.planning.branch import Overlaps
from efat.planning.columns import ROUNDS, Columns, generate
from efat.planning.cost import Floats
from efat.planning.problem import Problem
from efat.planning.proof import Prover

SLACKS = (0.64, 0.4, 0.25, 0.16, 0.11, 0.08, 0.055, 0.04, 0.028, 0.02, 0.014, 0.01, 0.005, 1e-6)
BRANCHES, FIRST_BRANCHES, TURNS = 6000, 300, 40
"""Effort of the proof: branches a search, branches of the first ones, which tell whether a proof is
within reach at all, and searches that found new groups."""
MOST_CHIPS = 4000
"""Chips up to which all pairs are looked at: n^2 unions, a row at a time, no n x n matrix."""
SAMPLE, SAMPLE_ROUNDS = 64, 20
"""Chips whose values are carried over to a larger fleet, and rounds spent on them."""
DEPTH = 63
"""Largest overlaps kept for each chip."""
BISECTIONS, POWERS = 6, (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
"""Halvings of a share of the values that is tried, and powers of a chip's faults by which they are
lowered: of groups of many small chips the branch bound knows little."""


def searched_bound(problem: Problem, columns: Columns) -> float:
    """Generate values for the very fleet, adding to `columns`; prove them with less and less slack.

    Args:
        problem: Chips under a `CountCost`, few enough for a search: about a hundred.
        columns: Groups to start from, such as those of a plan.
    """
    prover, best, turns = _prover(problem), 0.0, 0
    values = generate(problem, columns, ROUNDS)
    for slack in SLACKS:
        while (scaled := (1 - slack) * values).sum() > best:
            verdict = prover.search(scaled, BRANCHES if best else FIRST_BRANCHES)
            if verdict.proved:
                best = float(scaled.sum())
                break
            turns += 1
            if turns > TURNS or not columns.add(verdict.counterexamples):
                return best
            values = generate(problem, columns, ROUNDS)
    return best


def sampled_bound(problem: Problem) -> float:
    """Carry the values of a small sample over by the number of faults; prove a share of them.

    Cheaper than `searched_bound`, and looser: only the root branch is looked at. 0 beyond
    `MOST_CHIPS`.
    """
    if len(problem) > MOST_CHIPS:
        return 0.0
    prover, values = _prover(problem), _carry_over(problem)
    smaller = problem.counts / max(1, int(problem.counts.max()))
    best = 0.0
    for power in POWERS:
        best = max(best, _prove_share(prover, values * smaller**power, best))
    return best


def _prove_share(prover: Prover, values: Floats, least: float) -> float:
    """Find by bisection how large a share of the values the root branch proves, above `least`."""
    total = float(values.sum())
    low, high = least / total if total else 1.0, 1.0
    if low >= high or not prover.search(low * values, branches=1).proved:
        return 0.0
    for _ in range(BISECTIONS):
        share = (low + high) / 2
        if prover.search(share * values, branches=1).proved:
            low = share
        else:
            high = share
    return low * total


def _prover(problem: Problem) -> Prover:
    table = problem.rules.prices(problem.count_cost.table)
    overlaps = Overlaps.of(problem.words, problem.shape[0] * problem.shape[1], DEPTH)
    return Prover(problem.words, table, problem.max_members, overlaps)


def _carry_over(problem: Problem) -> Floats:
    """Generate values for a sample spread over the fault counts, and interpolate over these."""
    order = np.lexsort((np.arange(len(problem)), problem.counts))
    chips = np.sort(order[np.linspace(0, len(problem) - 1, SAMPLE).astype(np.int64)])
    part = problem.part(chips)
    values = generate(part, Columns(part, []), SAMPLE_ROUNDS)
    rank = np.argsort(part.counts, kind="stable")
    spread = np.interp(problem.counts, part.counts[rank], values[rank])
    return np.minimum(spread, problem.single_prices)
