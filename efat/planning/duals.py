"""Column generation on the set-partitioning relaxation: dual values, then proof that they hold.

The relaxation is `min sum_G c(G) x_G` with every chip covered; as the cost is monotone, covering
a chip twice never helps, so the dual values may be taken as `u >= 0`. Groups are generated where
`u(G) > c(G)`. What the solver returns is trusted for nothing: values that are proved for
`(1 - slack) u` give the bound `(1 - slack) sum u`, whatever `u` is (Farley 1990).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from efat.planning.branch import Overlaps
from efat.planning.cost import CountCost, Floats, union_counts
from efat.planning.forest import Places
from efat.planning.problem import Problem
from efat.planning.proof import Prover

SLACKS = (0.64, 0.32, 0.16, 0.08, 0.04, 0.02, 0.01, 0.005, 0.0025, 1e-6)
MOST_SEARCHED = 150
"""Chips up to which values are generated for the very fleet, and the proof branches."""
MOST_CHIPS = 12000
"""Chips up to which all pairs are looked at: n^2 / 2 unions, no n x n matrix."""
SAMPLE = 64
"""Chips whose values are carried over to a larger fleet."""
DEPTH = 63
"""Largest overlaps kept for each chip."""
ROUNDS, BEAM = 40, 160
"""Rounds of column generation, and groups of one size that a round extends."""
BRANCHES, TURNS, BISECTIONS = 250, 30, 8
"""Effort of the proof: branches a search, searches that found new groups, halvings of a share."""


class Columns:
    """Groups known so far with their prices; a group is kept once."""

    def __init__(self, problem: Problem, groups: Iterable[Places]) -> None:
        self.problem = problem
        self.groups: list[Places] = []
        self.prices: list[float] = []
        self._known: set[Places] = set()
        self.add([(i,) for i in range(len(problem))])
        self.add(groups)

    def add(self, groups: Iterable[Places]) -> int:
        """Add new groups of finite price; return how many were new."""
        before = len(self.groups)
        for group in groups:
            key = tuple(sorted(group))
            if key not in self._known:
                self._known.add(key)
                price = float(self.problem.prices(self.problem.fuse(key)[None])[0])
                if price < np.inf:
                    self.groups.append(key)
                    self.prices.append(price)
        return len(self.groups) - before

    def matrix(self) -> csr_array:
        """Return which chip is in which group [chips, groups]."""
        rows = np.concatenate([np.array(group) for group in self.groups])
        sizes = [len(group) for group in self.groups]
        cols = np.repeat(np.arange(len(self.groups)), sizes)
        return csr_array(
            (np.ones(len(rows)), (rows, cols)), shape=(len(self.problem), len(self.groups))
        )

    def values(self) -> Floats:
        """Solve the relaxation over the known groups; return the dual values [chips]."""
        solved = linprog(
            self.prices,
            A_ub=-self.matrix(),
            b_ub=-np.ones(len(self.problem)),
            bounds=(0, None),
            method="highs",
        )
        values: Floats = np.maximum(-solved.ineqlin.marginals, 0.0)
        return values


def generate(problem: Problem, columns: Columns, rounds: int) -> Floats:
    """Add groups that the dual values overcharge, round by round; return the last values.

    Smoothing (Neame 2000) keeps the values from jumping: groups are sought between the last values
    and their running mean.
    """
    values = centre = columns.values()
    for _ in range(rounds):
        trial = 0.5 * values + 0.5 * centre
        if not columns.add(_overcharged(problem, trial)) and not columns.add(
            _overcharged(problem, values)
        ):
            break
        centre, values = trial, columns.values()
    return values


def _overcharged(problem: Problem, values: Floats) -> list[Places]:
    """Look for groups with `values(G) > price(G)` by a beam search over the sizes of groups."""
    found: list[tuple[float, Places]] = []
    beam: list[Places] = [(i,) for i in np.flatnonzero(values > 0).tolist()]
    for _ in range(1, problem.max_members):
        grown = _grow(problem, values, beam)
        found += [(excess, group) for excess, _, group in grown if excess > 0]
        by_excess = sorted(grown, key=lambda entry: -entry[0])[: BEAM // 2]
        by_ratio = sorted(grown, key=lambda entry: -entry[1])[: BEAM // 2]
        beam = list(dict.fromkeys(group for _, _, group in by_excess + by_ratio))
        if not beam:
            break
    return _spread(found) + _greedy(problem, values)


def _greedy(problem: Problem, values: Floats) -> list[Places]:
    """Grow a group from each chip by the highest value per new fault; keep its worst prefix."""
    cost, found = _counted(problem), list[Places]()
    step = max(1, len(problem) // 128)
    for start in range(0, len(problem), step):
        chosen, count = [start], int(problem.counts[start])
        fused = problem.words[start]
        worst: tuple[float, Places] = (0.0, ())
        while len(chosen) < problem.max_members:
            unions = union_counts(fused, problem.words)
            prices = problem.rules.prices(cost.of_counts(unions))
            score = np.where(np.isinf(prices), -1.0, values / np.maximum(unions - count, 0.5))
            score[chosen] = -1.0
            best = int(score.argmax())
            if score[best] <= 0:
                break
            chosen.append(best)
            fused, count = fused | problem.words[best], int(unions[best])
            excess = float(values[chosen].sum() - prices[best] * (1 + 1e-7))
            worst = max(worst, (excess, tuple(sorted(chosen))))
        if worst[0] > 0:
            found.append(worst[1])
    return found


def _grow(
    problem: Problem, values: Floats, beam: Sequence[Places]
) -> list[tuple[float, float, Places]]:
    """Extend each group by its best few chips: (excess, value per fault, group)."""
    grown: dict[Places, tuple[float, float, Places]] = {}
    cost = _counted(problem)
    for group in beam:
        counts = union_counts(problem.fuse(group), problem.words)
        prices = problem.rules.prices(cost.of_counts(counts))
        value = values[list(group)].sum() + values
        excess = value - prices * (1 + 1e-7)
        excess[list(group)] = -np.inf
        excess[values <= 0] = -np.inf
        ratio = value / np.maximum(counts, 1)
        for key in (excess, np.where(np.isfinite(excess), ratio, -np.inf)):
            for i in np.argsort(-key)[:4].tolist():
                if excess[i] > -np.inf:
                    places = tuple(sorted((*group, i)))
                    grown[places] = (float(excess[i]), float(ratio[i]), places)
    return list(grown.values())


def _counted(problem: Problem) -> CountCost:
    if not isinstance(problem.cost, CountCost):
        raise TypeError("column generation needs a CountCost")
    return problem.cost


def _spread(found: list[tuple[float, Places]]) -> list[Places]:
    """Keep the most overcharged groups, no chip in too many of them."""
    uses: dict[int, int] = {}
    kept: list[Places] = []
    for _, group in sorted(found, key=lambda entry: (-entry[0], entry[1])):
        if all(uses.get(i, 0) < 6 for i in group):
            kept.append(group)
            for i in group:
                uses[i] = uses.get(i, 0) + 1
    return kept


def dual_bound(problem: Problem, groups: Sequence[Places]) -> float:
    """Return a proved bound by column generation, or 0 where it is not affordable.

    Up to `MOST_SEARCHED` chips values are generated for the very fleet and the proof may branch.
    Up to `MOST_CHIPS` the values of a small sample, carried over by the number of faults, are
    scaled until the bound on the root branch proves them: cheaper, and looser.

    Args:
        problem: Chips under a `CountCost`; with a plain callable the bound is 0.
        groups: Groups to start from, such as those of a plan.
    """
    if not isinstance(problem.cost, CountCost) or len(problem) > MOST_CHIPS:
        return 0.0
    table = problem.rules.prices(problem.cost.table)
    area = problem.shape[0] * problem.shape[1]
    overlaps = Overlaps.of(problem.words, area, DEPTH)
    prover = Prover(problem.words, table, problem.max_members, overlaps)
    if len(problem) <= MOST_SEARCHED:
        columns = Columns(problem, groups)
        return _prove(prover, columns, generate(problem, columns, ROUNDS))
    return _scale(prover, _carry_over(problem))


def _prove(prover: Prover, columns: Columns, values: Floats) -> float:
    """Prove the values with less and less slack; return the best bound reached."""
    best, turns = 0.0, 0
    for slack in SLACKS:
        while True:
            scaled = (1 - slack) * values
            if scaled.sum() <= best:
                break
            verdict = prover.search(scaled, BRANCHES)
            if verdict.proved:
                best = float(scaled.sum())
                break
            turns += 1
            if turns > TURNS or not columns.add(verdict.counterexamples):
                return best
            values = columns.values()
    return best


def _carry_over(problem: Problem) -> Floats:
    """Generate values for a sample spread over the fault counts, and interpolate over these."""
    order = np.lexsort((np.arange(len(problem)), problem.counts))
    chips = np.sort(order[np.linspace(0, len(problem) - 1, SAMPLE).astype(np.int64)])
    part = replace(
        problem,
        names=tuple(problem.names[i] for i in chips),
        words=problem.words[chips],
        alone=(),
        rules=replace(problem.rules, alone=(), max_groups=None),
    )
    values = generate(part, Columns(part, []), ROUNDS)
    counts = part.counts
    rank = np.argsort(counts, kind="stable")
    spread = np.interp(problem.counts, counts[rank], values[rank])
    return np.minimum(spread, problem.single_prices)


def _scale(prover: Prover, values: Floats) -> float:
    """Find by bisection how large a share of the values the root branch alone proves."""
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        share = (low + high) / 2
        if prover.search(share * values, branches=1).proved:
            low = share
        else:
            high = share
    return low * float(values.sum())
