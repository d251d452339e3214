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
from efat.planning.bound import cover_bound, single_bound, whole_prices
from efat.planning.branch import Branch, Overlaps, shared_counts
from efat.planning.columns import Columns
from efat.planning.cost import CountCost, count_faults, union_counts
from efat.planning.duals import sampled_bound, searched_bound
from efat.planning.exact import Exact
from efat.planning.greedy import Greedy
from efat.planning.hierarchical import Hierarchical
from efat.planning.listing import list_groups, solve
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
def test_searched_and_sampled_bounds_stay_below_the_optimum(kind: str) -> None:
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
            bound = searched_bound(problem, Columns(problem, []))
            assert max(bound, sampled_bound(problem)) <= optimum * (1 + 1e-9)
            proved += bound > 0.9 * optimum
    assert proved >= 7  # of 9: the proof reaches something


@pytest.mark.parametrize("kind", KINDS)
def test_listing_finds_every_group_and_bounds_like_all_subsets(kind: str) -> None:
    problem = prepare(fleet(kind, 9, 16, 1), table_cost("floored", 16), Rules(max_members=4))
    prices = subset_prices(problem)
    listing = list_groups(problem)
    assert listing is not None
    values = np.random.default_rng(0).random(9)
    found = zip(listing.prices.tolist(), listing.sums(values).tolist(), strict=True)
    listed = {listing.members(i): pair for i, pair in enumerate(found)}
    finite = np.flatnonzero(np.isfinite(prices))
    assert set(listed) == {places_of(s) for s in finite.tolist()}
    sums = subset_sums(values)
    for s in finite.tolist():
        assert listed[places_of(s)] == pytest.approx((prices[s], sums[s]))
    bound = solve(listing, Columns(problem, []))[1]
    assert bound == pytest.approx(relaxation(prices, 9)[1])


def test_listing_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = prepare(fleet("uniform", 12, 16), table_cost("concave", 16), Rules())
    monkeypatch.setattr("efat.planning.listing.MOST_GROUPS", 40)
    assert list_groups(problem) is None


def test_bound_is_raised_to_what_prices_can_sum_to() -> None:
    table = np.array([0.0, 8.0, 24.0, math.inf])
    chips = [Chip("a", FaultMap([[True, False, False]]))]
    problem = prepare(chips, CountCost(np.append(table, [])), Rules())
    assert [whole_prices(problem, b) for b in (0.0, 8.0, 8.1, 16.0)] == [0.0, 8.0, 16.0, 16.0]
    odd = prepare(chips, CountCost(table), Rules(price_group=0.5))
    assert whole_prices(odd, 8.1) == pytest.approx(8.1)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7), st.floats(0.05, 0.6))
def test_a_branch_with_an_overcharged_group_stays_open(seed: int, n: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    chips, cost = random_fleet(rng, n + 1, rate), random_cost(rng)
    words = np.stack([chip.fault_map.words for chip in chips])
    base, rest = words[0], words[1:]
    count = int(np.bitwise_count(base).sum())
    gains = union_counts(base, rest) - count
    rest, gains = rest[gains > 0], gains[gains > 0]
    values = rng.random(len(rest)) * rng.integers(1, 30)
    seen = overlaps(rest, base, 30 - count or 1, seed)
    for size in range(2, len(rest) + 1):
        excess = -math.inf
        for places in itertools.combinations(range(len(rest)), size):
            fused = np.bitwise_or.reduce(rest[list(places)], axis=0) | base
            price = cost.table[int(np.bitwise_count(fused).sum())]
            excess = max(excess, values[list(places)].sum() - price)
        if excess > -math.inf:  # chosen so that the dearest group is overcharged by a hair
            branch = Branch(1e-6 - excess, count, values, gains, seen, cost.table, cost.max_count)
            assert branch.overcharge(size, size) > 0
            assert branch.overcharge(2, len(rest)) > 0


def overlaps(rest: np.ndarray, base: np.ndarray, area: int, seed: int) -> Overlaps:
    if not len(rest):
        return Overlaps.of_pairs(np.zeros((1, 1), dtype=np.int64), 1)
    own = rest & ~base
    return (
        Overlaps.of_pairs(shared_counts(own), area),
        Overlaps.of(own, area, 2),
        Overlaps.of(rest, 30, len(rest)),
    )[seed % 3]


def test_a_branch_far_from_any_price_is_closed() -> None:
    words = np.stack([c.fault_map.words for c in fleet("uniform", 20, 32)])
    counts, table = count_faults(words), table_cost("concave", 32).table
    seen = Overlaps.of_pairs(shared_counts(words), 1024)
    limit = int(np.searchsorted(table, np.inf)) - 1
    for share, closed in ((0.5, True), (2.0, False)):
        values = share * table[limit] * counts / limit
        branch = Branch(0.0, 0, values, counts, seen, table, limit)
        assert (branch.overcharge(2, 20) <= 0) == closed


def test_generated_groups_make_plans_near_the_bound() -> None:
    chips, cost = fleet("uniform", 26, 64), table_cost("floored", 64)
    merged, best = Best(effort="cheap")(chips, cost, 0), Best()(chips, cost, 0)
    assert best.price < merged.price
    assert best.gap < 0.02
    few = Rules(max_groups=len(best.groups) - 1)
    assert len(Best(rules=few)(chips, cost, 0).groups) < len(best.groups)


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
