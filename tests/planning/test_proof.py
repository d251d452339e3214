"""What the branch and bound of the proof says of every group holds, wherever it is cut short."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efat.planning.bounds.branch_bound import FEWEST, Branch
from efat.planning.bounds.column_generation import Columns, generate
from efat.planning.bounds.dual_bound import sampled_bound, searched_bound
from efat.planning.bounds.proof import Prover
from efat.planning.bounds.subsets import (
    best_partition,
    subset_prices,
)
from efat.planning.planners.hierarchical import Hierarchical
from efat.planning.problem import prepare
from efat.planning.rules import Rules
from tests.planning.fleets import fleet, table_cost
from tests.planning.random_fleets import ONE_KIND, rising_cost, seeds, structured_fleet


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


@pytest.mark.parametrize("seed", seeds(20, 60))
def test_a_search_cut_short_anywhere_bounds_every_group(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    chips = structured_fleet(rng, int(rng.integers(3, 10)))
    cost, members = rising_cost(rng, 144), int(rng.integers(3, 10))
    monkeypatch.setattr("efat.planning.bounds.proof.BRANCHING", int(rng.integers(1, 4)))
    words = np.stack([chip.fault_map.words for chip in chips])
    single = cost.table[np.bitwise_count(words).sum(axis=1)]
    kept = np.flatnonzero(np.isfinite(single))
    words, values = words[kept], single[kept] * rng.uniform(0.3, 1.0, len(kept))
    every = {g: r for g, r in ratios(words, values, cost.table).items() if len(g) <= members}
    true = max([1.0, *every.values()])
    prover = Prover(words, 144, cost.table, members)
    bounds = [prover.search(values, branches, 10**6).ratio for branches in (1, 3, 10, 10**6)]
    assert all(bound >= true for bound in [*bounds, prover.root_bound(values)])
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
        monkeypatch.setattr(f"efat.planning.bounds.dual_bound.{name}", value)
    short, whole = searched_bound(problem, Columns(problem, [])), sampled_bound(problem)
    monkeypatch.setattr("efat.planning.bounds.dual_bound.MOST_CHIPS", 4)
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
