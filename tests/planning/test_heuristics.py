"""Hierarchical merging, packing and local search, each for itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from efat.hardware import FaultMap
from efat.hardware.chip import Chip
from efat.planning.cost import CountCost
from efat.planning.planners.greedy import Greedy
from efat.planning.planners.hierarchical import Hierarchical
from efat.planning.planners.local_search import LocalSearch
from efat.planning.planners.min_cost import MinCost
from efat.planning.planners.packing import Packing
from efat.planning.problem import prepare
from efat.planning.rules import Rules
from tests.planning.fleets import fleet, table_cost


@pytest.mark.parametrize("kept", [2, 64])
def test_hierarchical_takes_the_best_pair_there_is(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("efat.planning.planners.hierarchical.PARTNERS_STORED", kept)
    chips, cost = fleet("clustered", 30, 32), table_cost("concave", 32)
    plan = Hierarchical()(chips, cost, 0)
    problem = prepare(chips, cost, Rules())
    nodes = {i: [i] for i in range(len(problem))}
    for step, merge in enumerate(plan.merges):
        rewards = [
            sum(problem.prices(np.stack([problem.fuse(nodes[a]), problem.fuse(nodes[b])])))
            - problem.prices(problem.fuse(nodes[a] + nodes[b])[None])[0]
            for a, b in itertools.combinations(nodes, 2)
        ]
        assert merge.reward == pytest.approx(max(rewards))
        nodes[len(problem) + step] = nodes.pop(merge.left) + nodes.pop(merge.right)


def test_chunks_cover_a_fleet_larger_than_one() -> None:
    chips, cost = fleet("uniform", 50, 16), table_cost("floored", 16)
    plan = MinCost(chunk=20, effort="cheap", refine=50)(chips, cost, 0)
    assert sorted(n for g in plan.groups for n in g.members) == sorted(c.chip_id for c in chips)
    few = MinCost(chunk=20, effort="cheap", refine=50, rules=Rules(max_groups=15))
    assert len(few(chips, cost, 0).groups) <= 15 < len(plan.groups)


@pytest.mark.parametrize(
    ("chips", "parts"), [(50, [50]), (51, [25, 26]), (100, [50, 50]), (101, [33, 34, 34])]
)
def test_no_chunk_is_larger_than_asked_and_none_is_cut_needlessly(
    chips: int, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Noting(Greedy):
        def group(self, problem, seed):
            seen.append(len(problem))
            return super().group(problem, seed)

    monkeypatch.setattr("efat.planning.planners.min_cost.Greedy", Noting)
    cost = table_cost("floored", 16)
    MinCost(chunk=50, effort="cheap", refine=0)(fleet("uniform", chips, 16), cost, 0)
    assert sorted(seen) == parts


def test_packing_takes_the_largest_chips_first() -> None:
    """Bins of 10 faults, maps apart: 7 + 3 three times; in the order of names 3 + 3 + 3 and 7s."""
    chips, used = [], 0
    for i, faults in enumerate((3, 3, 3, 7, 7, 7)):
        grid = np.zeros((10, 10), dtype=bool)
        grid.ravel()[used : used + faults] = True
        chips.append(Chip(f"c{i}", FaultMap(grid)))
        used += faults
    cost = CountCost.of(lambda rate: 50.0 * (rate > 0) if rate <= 0.1 else math.inf, 10, 10)
    assert Packing(refine=0)(chips, cost, 0).price == 150


def test_local_search_stops_at_its_time_limit() -> None:
    chips, cost = fleet("uniform", 30, 16), table_cost("floored", 16)
    none = LocalSearch(seconds=0.0)(chips, cost, 0)
    assert none.groups == Hierarchical()(chips, cost, 0).groups
    assert LocalSearch()(chips, cost, 0).price < none.price


def test_packing_follows_the_rates() -> None:
    chips, cost = fleet("uniform", 60, 64), table_cost("floored", 64)
    assert Packing(refine=0)(chips, cost, 0).price < 0.8 * sum(cost(c.fault_map) for c in chips)
