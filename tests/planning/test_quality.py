"""bound <= exact optimum <= every planner, on thousands of random fleets; against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from efat.hardware import FaultMap
from efat.hardware.chip import Chip
from efat.planning.bounds.column_generation import Columns
from efat.planning.bounds.dual_bound import sampled_bound, searched_bound
from efat.planning.bounds.enumeration import list_groups, solve
from efat.planning.bounds.lower_bound import cover_bound, single_bound, whole_prices
from efat.planning.bounds.subsets import (
    best_partition,
    chips_of_subset,
    relaxation,
    subset_prices,
    subset_sums,
)
from efat.planning.cost import CountCost
from efat.planning.planners.exact import Exact
from efat.planning.planners.greedy import Greedy
from efat.planning.planners.hierarchical import Hierarchical
from efat.planning.planners.local_search import LocalSearch
from efat.planning.planners.min_cost import MinCost
from efat.planning.problem import prepare
from efat.planning.rules import Rules
from tests.planning.fleets import CURVES, KINDS, fleet, table_cost
from tests.planning.random_fleets import ONE_KIND, random_cost, random_fleet


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


@pytest.mark.parametrize("kind", ONE_KIND)
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
    assert set(listed) == {chips_of_subset(s) for s in finite.tolist()}
    sums = subset_sums(values)
    for s in finite.tolist():
        assert listed[chips_of_subset(s)] == pytest.approx((prices[s], sums[s]))
    bound = solve(listing, Columns(problem, []))[1]
    assert bound == pytest.approx(relaxation(prices, 9)[1])


def test_listing_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = prepare(fleet("uniform", 12, 16), table_cost("concave", 16), Rules())
    monkeypatch.setattr("efat.planning.bounds.enumeration.MOST_GROUPS", 40)
    assert list_groups(problem) is None


def test_bound_is_raised_to_what_prices_can_sum_to() -> None:
    table = np.array([0.0, 8.0, 24.0, math.inf])
    chips = [Chip("a", FaultMap([[True, False, False]]))]
    problem = prepare(chips, CountCost(np.append(table, [])), Rules())
    assert [whole_prices(problem, b) for b in (0.0, 8.0, 8.1, 16.0)] == [0.0, 8.0, 16.0, 16.0]
    odd = prepare(chips, CountCost(table), Rules(price_group=0.5))
    assert whole_prices(odd, 8.1) == pytest.approx(8.1)


def test_generated_groups_make_plans_near_the_bound() -> None:
    chips, cost = fleet("uniform", 20, 64), table_cost("floored", 64)
    merged, best = MinCost(effort="cheap")(chips, cost, 0), MinCost()(chips, cost, 0)
    assert best.price < merged.price
    assert best.gap < 0.02
    few = Rules(max_groups=len(best.groups) - 1)
    assert len(MinCost(rules=few)(chips, cost, 0).groups) < len(best.groups)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("kind", KINDS)
def test_best_is_never_worse_than_greedy_over_all_pairs(kind: str, curve: str) -> None:
    chips, cost = fleet(kind, 60, 32), table_cost(curve, 32)
    best, greedy = MinCost(effort="cheap")(chips, cost, 0), Greedy()(chips, cost, 0)
    assert best.price <= greedy.price


def test_best_gains_over_greedy_somewhere() -> None:
    chips, cost = fleet("clustered", 60, 32), table_cost("floored", 32)
    best, greedy = MinCost(effort="cheap")(chips, cost, 0), Greedy()(chips, cost, 0)
    assert best.price < 0.97 * greedy.price
