"""bound <= exact optimum <= every planner, on thousands of random fleets; against brute force."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efat.chips import Chip
from efat.faults import FaultMap
from efat.planning.best import Best
from efat.planning.bound import cover_bound, single_bound, whole_prices
from efat.planning.branch import FEWEST, Branch
from efat.planning.columns import Columns, generate
from efat.planning.cost import CountCost
from efat.planning.duals import sampled_bound, searched_bound
from efat.planning.exact import Exact
from efat.planning.greedy import Greedy
from efat.planning.hierarchical import Hierarchical
from efat.planning.listing import list_groups, solve
from efat.planning.local_search import LocalSearch
from efat.planning.packing import Packing
from efat.planning.problem import prepare
from efat.planning.proof import Prover
from efat.planning.rules import Rules
from efat.planning.subsets import (
    best_partition,
    places_of,
    relaxation,
    subset_prices,
    subset_sums,
)
from tests.planning.fleets import CURVES, KINDS, fleet, table_cost

SLOW = pytest.mark.slow
ONE_KIND = ["lines", *(pytest.param(kind, marks=SLOW) for kind in KINDS if kind != "lines")]
"""The others are left to `make test-all`."""


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


def structured_fleet(rng: np.random.Generator, n: int) -> list[Chip]:
    """Maps of 12x12 PEs with whole rows, blocks and spots that many of them have in common."""
    spots = rng.random((2, 12, 12)) < 0.15
    maps = rng.random((n, 12, 12)) < rng.uniform(0.0, 0.1, (n, 1, 1))
    for grid in maps:
        for spot in spots[rng.random(2) < 0.5]:
            grid |= spot & (rng.random((12, 12)) < 0.95)
        grid[rng.integers(0, 12, rng.integers(0, 3))] = True
        top, left = rng.integers(0, 9, 2)
        grid[top : top + rng.integers(0, 4), left : left + 3] = True
    return [Chip(f"c{i}", FaultMap(grid)) for i, grid in enumerate(maps)]


def rising_cost(rng: np.random.Generator, pes: int) -> CountCost:
    """A floor, a power and an end."""
    rates = np.arange(pes + 1) / pes
    table = np.ceil(np.maximum(rng.integers(0, 60), 400 * rates ** rng.choice([0.5, 1.0, 2.0])))
    table[0] = 0.0
    table[int(pes * rng.uniform(0.5, 1.0)) :] = math.inf
    return CountCost(table)


def ratios(
    words: np.ndarray, values: np.ndarray, table: np.ndarray
) -> dict[tuple[int, ...], float]:
    """Compare value and price of every group of finite price."""
    found = {}
    for size in range(1, len(words) + 1):
        for places in itertools.combinations(range(len(words)), size):
            count = int(np.bitwise_count(np.bitwise_or.reduce(words[list(places)], axis=0)).sum())
            if table[count] < math.inf and values[list(places)].sum() > 0:
                with np.errstate(divide="ignore"):
                    found[places] = values[list(places)].sum() / np.float64(table[count])
    return found


def seeds(quick: int, all_of_them: int) -> list[Any]:
    """The first few in every run, the others with the slow tests."""
    slow = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(quick, all_of_them)]
    return [*range(quick), *slow]


@pytest.mark.parametrize("seed", seeds(20, 60))
def test_a_search_cut_short_anywhere_bounds_every_group(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    chips = structured_fleet(rng, int(rng.integers(3, 10)))
    cost, members = rising_cost(rng, 144), int(rng.integers(3, 10))
    monkeypatch.setattr("efat.planning.proof.FAN", int(rng.integers(1, 4)))
    words = np.stack([chip.fault_map.words for chip in chips])
    single = cost.table[np.bitwise_count(words).sum(axis=1)]
    kept = np.flatnonzero(np.isfinite(single))
    words, values = words[kept], single[kept] * rng.uniform(0.3, 1.0, len(kept))
    every = {g: r for g, r in ratios(words, values, cost.table).items() if len(g) <= members}
    true = max([1.0, *every.values()])
    prover = Prover(words, 144, cost.table, members)
    bounds = [prover.search(values, branches, 10**6).ratio for branches in (1, 3, 10, 10**6)]
    assert all(bound >= true for bound in [*bounds, prover.glance(values)])
    assert bounds == sorted(bounds, reverse=True)
    if members >= len(words):  # else chips that bring no new fault take no room
        assert bounds[-1] == pytest.approx(true)
    for group in prover.search(values, 10**6, 10**6).counterexamples:
        assert every[group] > 1


@pytest.mark.parametrize("seed", seeds(12, 30))
def test_bounds_of_structured_fleets_stay_below_the_optimum(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng([8, seed])
    chips, cost = structured_fleet(rng, int(rng.integers(2, 10))), rising_cost(rng, 144)
    rules = Rules(max_members=None if seed % 2 else 3, price_group=float(seed % 5))
    problem = prepare(chips, cost, rules)
    if not len(problem):
        return
    optimum = best_partition(subset_prices(problem))[1]
    for name, value in (("BRANCHES", 8), ("FIRST_BRANCHES", 2), ("SAMPLE_ROUNDS", 2)):
        monkeypatch.setattr(f"efat.planning.duals.{name}", value)
    short, whole = searched_bound(problem, Columns(problem, [])), sampled_bound(problem)
    monkeypatch.setattr("efat.planning.duals.MOST_CHIPS", 4)
    assert max(short, whole, sampled_bound(problem)) <= optimum * (1 + 1e-9)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 8))
def test_a_branch_bounds_all_its_groups(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    chips, cost = structured_fleet(rng, n + 1), rising_cost(rng, 144)
    words = np.stack([chip.fault_map.words for chip in chips])
    base = words[0] if rng.random() < 0.7 else np.zeros_like(words[0])
    fused = np.unpackbits(base.view(np.uint8)).astype(bool)
    prover = Prover(words, 144, cost.table, n + 1)
    outside = prover.maps.astype(np.float64) * ~fused
    own = np.flatnonzero(outside.sum(axis=1))
    if len(own) < FEWEST or fused.sum() > prover.limit:
        return
    overlaps = outside[own] @ outside[own].T
    gains = np.diagonal(overlaps).copy()
    split = prover.split(fused, own, gains, overlaps)
    values, start = rng.random(len(own)) * rng.integers(1, 30), float(rng.random())
    branch = Branch(
        start,
        int(fused.sum()),
        values,
        gains,
        split.sizes,
        split.shares,
        split.spectrum.largest,
        split.area,
        len(own),
        cost.table,
        prover.limit,
    )
    bound = branch.ratio()
    for size in range(FEWEST, len(own) + 1):
        for places in itertools.combinations(range(len(own)), size):
            chosen = np.bitwise_or.reduce(words[own[list(places)]], axis=0) | base
            price = cost.table[int(np.bitwise_count(chosen).sum())]
            if price < math.inf:
                assert start + values[list(places)].sum() <= bound * price * (1 + 1e-9)


@pytest.mark.parametrize("kind", ONE_KIND)
def test_the_bound_gets_near_what_groups_reach(kind: str) -> None:
    """Values of a fleet of each kind are proved to within a few percent by few branches."""
    problem = prepare(fleet(kind, 18, 64), table_cost("concave", 64), Rules())
    columns = Columns(problem, Hierarchical().group(problem, 0).groups)
    values = generate(problem, columns, 15)
    prover = Prover(problem.words, 64 * 64, problem.cost.table, len(problem))
    assert prover.search(values, 3000, 10**6).ratio < 1.15


def test_generated_groups_make_plans_near_the_bound() -> None:
    chips, cost = fleet("uniform", 20, 64), table_cost("floored", 64)
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
