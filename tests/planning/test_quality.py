"""bound <= exact optimum <= every planner, on thousands of random fleets; against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efat.chips import Chip
from efat.faults import FaultMap
from efat.planning.best import Best
from efat.planning.bound import cover_bound, single_bound
from efat.planning.branch import Branch, Overlaps
from efat.planning.cost import CountCost, union_counts
from efat.planning.duals import dual_bound
from efat.planning.exact import Exact
from efat.planning.greedy import Greedy
from efat.planning.hierarchical import Hierarchical
from efat.planning.local_search import LocalSearch
from efat.planning.packing import Packing
from efat.planning.problem import prepare
from efat.planning.rules import Rules
from efat.planning.subsets import (
    best_partition,
    places_of,
    relaxation,
    subset_prices,
    subset_sums,
)
from tests.planning.fleets import CURVES, KINDS, fleet, table_cost


def partitions(items: list[int]):
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            left = [i for i in rest if i not in others]
            for tail in partitions(left):
                yield [(first, *others), *tail]


def brute_force(chips: list[Chip], cost: CountCost, rules: Rules) -> float:
    best = math.inf
    for groups in partitions(list(range(len(chips)))):
        if rules.max_groups is not None and len(groups) > rules.max_groups:
            continue
        if any(len(g) > (rules.max_members or 99) for g in groups):
            continue
        total = 0.0
        for group in groups:
            faulty = np.any([chips[i].fault_map.faulty for i in group], axis=0)
            total += rules.price(cost.table[int(faulty.sum())])
        best = min(best, total)
    return best


def random_fleet(rng: np.random.Generator, n: int, rates: float) -> list[Chip]:
    """Small maps with shared, nested and equal parts."""
    shared = rng.random((3, 5, 6)) < rates
    maps = [rng.random((5, 6)) < rates * rng.random() for _ in range(n)]
    maps = [m | shared[rng.integers(3)] if rng.random() < 0.5 else m for m in maps]
    return [Chip(f"c{i}", FaultMap(m)) for i, m in enumerate(maps)]


def random_cost(rng: np.random.Generator) -> CountCost:
    bend = np.maximum(np.arange(31), 1.0) ** rng.choice([-1.0, 0.0, 1.0, 2.0])
    steps = np.cumsum(np.ceil(rng.integers(0, 6, 31) * (rng.random(31) < 0.6) * bend))
    steps[rng.integers(14, 31) :] = math.inf
    return CountCost(steps)


def test_exact_is_brute_force() -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        chips, cost = random_fleet(rng, int(rng.integers(1, 7)), 0.3), random_cost(rng)
        chips = [c for c in chips if cost(c.fault_map) < math.inf]
        for rules in (Rules(), Rules(max_members=2), Rules(max_groups=3, price_group=1.5)):
            best = brute_force(chips, cost, rules) if chips else 0.0
            if chips and best < math.inf:
                assert Exact(rules=rules)(chips, cost, 0).price == pytest.approx(best)


def test_bound_exact_planners_in_order_on_thousands_of_fleets() -> None:
    rng = np.random.default_rng(2)
    tight = 0
    for turn in range(2000):
        chips, cost = (
            random_fleet(rng, int(rng.integers(1, 8)), float(rng.uniform(0.05, 0.5))),
            (random_cost(rng)),
        )
        members = None if turn % 3 else int(rng.integers(1, 5))
        price = float(rng.choice([0.0, 3.5]))
        problem = prepare(chips, cost, Rules(max_members=members, price_group=price))
        if not len(problem):
            continue
        prices = subset_prices(problem)
        optimum = best_partition(prices)[1]
        bounds = [single_bound(problem), cover_bound(problem)]
        bounds.append(relaxation(prices, len(problem))[1] if turn % 10 == 0 else 0.0)
        assert max(bounds) <= optimum * (1 + 1e-12)
        tight += max(bounds) >= 0.999 * optimum
        planner = (Greedy(k=2), Greedy(), Hierarchical(), LocalSearch(iterations=20))[turn % 4]
        groups = planner.group(problem, turn).groups
        total = float(problem.prices(np.stack([problem.fuse(g) for g in groups])).sum())
        assert total >= optimum * (1 - 1e-12)
    assert tight > 100  # and the bounds are not idle


@pytest.mark.parametrize("kind", KINDS)
def test_column_generation_stays_below_the_optimum(kind: str) -> None:
    rng = np.random.default_rng(3)
    proved = 0
    for seed in range(3):
        n = int(rng.integers(2, 11))
        for curve in CURVES:
            cost = table_cost(curve, 16)
            rules = Rules(max_members=None if seed % 2 else 3)
            problem = prepare(fleet(kind, n, 16, seed), cost, rules)
            if not len(problem):
                continue
            optimum = best_partition(subset_prices(problem))[1]
            bound = dual_bound(problem, [])
            assert bound <= optimum * (1 + 1e-9)
            proved += bound > 0.5 * optimum
    assert proved >= 4  # of 9: the proof reaches something


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7), st.floats(0.05, 0.6))
def test_no_group_is_overcharged_by_more_than_its_branch_says(
    seed: int, n: int, rate: float
) -> None:
    rng = np.random.default_rng(seed)
    chips, cost = random_fleet(rng, n + 1, rate), random_cost(rng)
    words = np.stack([chip.fault_map.words for chip in chips])
    base, rest = words[0], words[1:]
    count = int(np.bitwise_count(base).sum())
    values = rng.random(n) * rng.integers(1, 30)
    gains = union_counts(base, rest) - count
    seen = Overlaps.of(rest & ~base, 30 - count or 1, n) if seed % 2 else Overlaps.of(rest, 30, 2)
    branch = Branch(2.0, count, values, gains, seen, cost.table, cost.max_count)
    sums = subset_sums(values)
    true = -math.inf
    for subset in range(1, 1 << n):
        places = places_of(subset)
        if len(places) >= 2:
            fused = np.bitwise_or.reduce(rest[list(places)], axis=0) | base
            true = max(true, 2.0 + sums[subset] - cost.table[int(np.bitwise_count(fused).sum())])
    if branch.overcharge(n) <= 0:
        assert true <= 0
    for size in range(2, n + 1):
        bound = branch._overcharge(size, size)
        for places in itertools.combinations(range(n), size):
            fused = np.bitwise_or.reduce(rest[list(places)], axis=0) | base
            price = cost.table[int(np.bitwise_count(fused).sum())]
            if price < math.inf:
                assert bound is not None
                assert 2.0 + values[list(places)].sum() - price <= bound


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("kind", KINDS)
def test_best_is_never_worse_than_greedy_over_all_pairs(kind: str, curve: str) -> None:
    chips, cost = fleet(kind, 60, 32), table_cost(curve, 32)
    best, greedy = Best(effort="cheap")(chips, cost, 0), Greedy()(chips, cost, 0)
    assert best.price <= greedy.price


def test_best_gains_over_greedy_somewhere() -> None:
    chips, cost = fleet("clustered", 60, 32), table_cost("floored", 32)
    best, greedy = Best(effort="cheap")(chips, cost, 0), Greedy()(chips, cost, 0)
    assert best.price < 0.97 * greedy.price


@pytest.mark.parametrize("kept", [2, 64])
def test_hierarchical_takes_the_best_pair_there_is(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("efat.planning.hierarchical.KEPT", kept)
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
    plan = Best(chunk=20, effort="cheap", refine=50)(chips, cost, 0)
    assert sorted(n for g in plan.groups for n in g.members) == sorted(c.chip_id for c in chips)
    few = Best(chunk=20, effort="cheap", refine=50, rules=Rules(max_groups=15))
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

    monkeypatch.setattr("efat.planning.best.Greedy", Noting)
    cost = table_cost("floored", 16)
    Best(chunk=50, effort="cheap", refine=0)(fleet("uniform", chips, 16), cost, 0)
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
