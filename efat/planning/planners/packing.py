"""Grouping as packing: the sizes -log(1 - rate) of independent maps add up in their union.

With sizes `s = -log(1 - rate)` a group of independent chips has the rate `1 - exp(-sum s)`, so a
plan is a bin packing with a price on the fill (METHOD section 6). Two families are tried: runs of
chips sorted by size, by a dynamic programme, and best-fit decreasing up to several fills. The real
unions decide between them; local search then uses the overlaps.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from efat.planning.cost import CountCost, Floats
from efat.planning.merge_forest import ChipIndices, MergeForest
from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.planners.hierarchical import merge_greedily
from efat.planning.planners.local_search import improve
from efat.planning.problem import Problem

LONGEST_RUN = 256
"""Most chips in one run of the dynamic programme, which keeps it linear in the fleet."""


@dataclass(frozen=True)
class Packing(GroupingPlanner):
    """Pack by fault rate alone, then refine on the real overlaps.

    Args:
        fills: Number of fills between the smallest chip and the largest map allowed.
        refine: Iterations of local search on the packed groups; null (None): its default.
    """

    description: ClassVar[str] = "grouping as bin packing"
    fills: int = 24
    refine: int | None = None

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return the cheapest packing on the real unions, refined; random numbers as `improve`."""
        candidates: list[tuple[ChipIndices, ...]] = [tuple((i,) for i in range(len(problem)))]
        candidates += [tuple(packed) for packed in self._packings(problem)]
        allowed = [c for c in candidates if len(c) <= problem.max_groups]
        prices = [float(_prices(problem, c).sum()) for c in allowed]
        if prices and min(prices) < np.inf:
            best = allowed[int(np.argmin(prices))]
        else:
            best = merge_greedily(
                MergeForest.of(problem, candidates[0]), merge_gainful=False
            ).groups
        if len(best) > problem.max_groups:
            return Grouping(best)
        return Grouping(improve(problem, best, self.refine, None, seed))

    def _packings(self, problem: Problem) -> Iterator[list[ChipIndices]]:
        pes = problem.shape[0] * problem.shape[1]
        sizes = -np.log1p(-np.minimum(problem.counts / pes, 1 - 0.5 / pes))
        order = np.lexsort((np.arange(len(problem)), -sizes))
        if isinstance(problem.cost, CountCost):
            model = problem.rules.prices(problem.rules.amounts(problem.cost.table))
            yield _runs(problem, order, sizes, model)
            top = -np.log1p(-min(problem.cost.max_count / pes, 1 - 0.5 / pes))
        else:
            top = float(-np.log(0.5 / pes))
        for fill in np.linspace(float(sizes.min()), top, self.fills + 1)[1:]:
            yield from (
                _fit(order, sizes, float(fill) * slack, problem.max_members)
                for slack in (1.0, 0.99)
            )


def _prices(problem: Problem, groups: tuple[ChipIndices, ...]) -> Floats:
    """Price real unions group by group, to save memory."""
    return np.array([problem.prices(problem.fuse(group)[None])[0] for group in groups])


def _runs(
    problem: Problem,
    order: np.ndarray[tuple[int], np.dtype[np.int64]],
    sizes: Floats,
    model: Floats,
) -> list[ChipIndices]:
    """Cut the sorted chips into runs of least modelled price (shortest path over the cuts)."""
    n, pes = len(order), len(model) - 1
    total = np.concatenate([[0.0], np.cumsum(sizes[order])])
    best, cut = np.zeros(n + 1), np.zeros(n + 1, dtype=np.int64)
    longest = min(problem.max_members, LONGEST_RUN)
    for end in range(1, n + 1):
        first = max(0, end - longest)
        rates = -np.expm1(total[first:end] - total[end])
        prices = best[first:end] + model[np.rint(rates * pes).astype(np.int64)]
        cut[end] = first + int(np.argmin(prices))
        best[end] = prices[cut[end] - first]
    runs, end = list[ChipIndices](), n
    while end:
        runs.append(tuple(sorted(order[cut[end] : end].tolist())))
        end = int(cut[end])
    return runs


def _fit(
    order: np.ndarray[tuple[int], np.dtype[np.int64]], sizes: Floats, fill: float, members: int
) -> list[ChipIndices]:
    """Best-fit decreasing: each chip joins the fullest group with room for it, up to `fill`."""
    groups: list[list[int]] = []
    room: list[tuple[float, int]] = []  # sorted by the remaining room
    for chip in order.tolist():
        at = bisect.bisect_left(room, (float(sizes[chip]), -1))
        if at < len(room):
            space, group = room.pop(at)
            groups[group].append(chip)
            if len(groups[group]) < members:
                bisect.insort(room, (space - float(sizes[chip]), group))
        else:
            groups.append([chip])
            if members > 1:
                bisect.insort(room, (fill - float(sizes[chip]), len(groups) - 1))
    return [tuple(sorted(group)) for group in groups]
