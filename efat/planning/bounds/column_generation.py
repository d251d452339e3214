"""Generate groups worth choosing: column generation on the set-partitioning relaxation.

The relaxation is `min sum_G c(G) x_G` with every chip covered; as the cost is monotone, covering
a chip twice never helps, so the dual values may be taken as `u >= 0`. Groups are generated where
`u(G) > c(G)`, by heuristics; the proof in `dual_bound` finds or excludes those that they miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from efat.planning.cost import Floats, union_counts
from efat.planning.merge_forest import ChipIndices
from efat.planning.problem import Problem

ROUNDS, BEAM = 60, 24
"""Rounds of column generation, and groups of each size that a round extends."""


class Columns:
    """The known groups with their prices, each group once."""

    def __init__(self, problem: Problem, groups: Iterable[ChipIndices]) -> None:
        self.problem = problem
        self.groups: list[ChipIndices] = []
        self.prices: list[float] = []
        self._known: set[ChipIndices] = set()
        self.add([(i,) for i in range(len(problem))])
        self.add(groups)

    def add(self, groups: Iterable[ChipIndices]) -> int:
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
        """Return 1 where a chip is in a group, else 0 [chips, groups]."""
        rows = np.concatenate([np.array(group) for group in self.groups])
        sizes = [len(group) for group in self.groups]
        cols = np.repeat(np.arange(len(self.groups)), sizes)
        return csr_array(
            (np.ones(len(rows)), (rows, cols)), shape=(len(self.problem), len(self.groups))
        )

    def solve(self) -> tuple[Floats, Floats]:
        """Solve the relaxation over the known groups: dual values [chips], shares [groups]."""
        solved = linprog(
            self.prices,
            A_ub=-self.matrix(),
            b_ub=-np.ones(len(self.problem)),
            bounds=(0, None),
            method="highs",
        )
        return np.maximum(-solved.ineqlin.marginals, 0.0), solved.x

    def values(self) -> Floats:
        """Return the dual values of the relaxation over the known groups [chips]."""
        return self.solve()[0]


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


def _overcharged(problem: Problem, values: Floats) -> list[ChipIndices]:
    """Search for groups with `values(G) > price(G)`: a beam search over group sizes."""
    overcharged: list[tuple[float, ChipIndices]] = []
    beam: list[ChipIndices] = [(i,) for i in np.flatnonzero(values > 0).tolist()]
    for _ in range(1, problem.max_members):
        grown = _grow(problem, values, beam)
        overcharged += [(excess, group) for excess, _, group in grown if excess > 0]
        by_excess = sorted(grown, key=lambda entry: -entry[0])[: BEAM // 2]
        by_ratio = sorted(grown, key=lambda entry: -entry[1])[: BEAM // 2]
        beam = list(dict.fromkeys(group for _, _, group in by_excess + by_ratio))
        if not beam:
            break
    return _spread(overcharged) + _greedy(problem, values)


def _greedy(problem: Problem, values: Floats) -> list[ChipIndices]:
    """Grow a group from each chip by the highest value per new fault; keep the worst prefix."""
    cost, overcharged = problem.count_cost, list[ChipIndices]()
    step = max(1, len(problem) // 128)
    for start in range(0, len(problem), step):
        chosen, count = [start], int(problem.counts[start])
        fused = problem.words[start]
        worst: tuple[float, ChipIndices] = (0.0, ())
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
            overcharged.append(worst[1])
    return overcharged


def _grow(
    problem: Problem, values: Floats, beam: Sequence[ChipIndices]
) -> list[tuple[float, float, ChipIndices]]:
    """Extend each group by its best few chips: (excess, value per fault, group)."""
    grown: dict[ChipIndices, tuple[float, float, ChipIndices]] = {}
    cost = problem.count_cost
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


def _spread(overcharged: list[tuple[float, ChipIndices]]) -> list[ChipIndices]:
    """Keep the most overcharged groups, no chip in too many of them."""
    uses: dict[int, int] = {}
    kept: list[ChipIndices] = []
    for _, group in sorted(overcharged, key=lambda entry: (-entry[0], entry[1])):
        if all(uses.get(i, 0) < 6 for i in group):
            kept.append(group)
            for i in group:
                uses[i] = uses.get(i, 0) + 1
    return kept
