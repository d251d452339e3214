"""What a chip can share with its partners, and the ends of the range that a branch looks at."""

import itertools
import math

import numpy as np
import pytest

from efat.planning.bounds.branch_bound import FEWEST, Branch, Spectrum
from efat.planning.bounds.partners import OverlapShares, split_overlaps
from efat.planning.bounds.proof import Prover
from efat.planning.problem import prepare
from efat.planning.rules import Rules
from tests.planning.fleets import fleet, table_cost


def maps_of(rng, n, pes=120):
    """Some chips without a fault, some with blocks in common."""
    maps = rng.random((n, pes)) < rng.uniform(0.0, 0.3, (n, 1))
    for row in maps:
        start = rng.integers(0, pes)
        row[start : start + rng.integers(0, 40)] = True
    maps[rng.random(n) < 0.1] = False
    return maps.astype(float)


@pytest.mark.parametrize("seed", range(20))
def test_partners_bound_the_overlaps_of_every_group(seed):
    rng = np.random.default_rng(seed)
    maps = maps_of(rng, 8)
    overlaps = maps @ maps.T
    sizes, values = np.diagonal(overlaps).copy(), rng.random(8)
    drawn = np.triu(rng.random((8, 8)), 1)
    drawn += np.tril(1 - drawn.T, -1)
    for shares in (drawn, split_overlaps(sizes, overlaps, values, 40.0, 60.0)):
        off = ~np.eye(8, dtype=bool)
        assert (shares + shares.T)[off] == pytest.approx(1.0)
        partners = OverlapShares.of(sizes, overlaps, shares)
        for size in range(2, 9):
            for group in map(list, itertools.combinations(range(8), size)):
                total = np.triu(overlaps[np.ix_(group, group)], 1).sum()
                most = partners.most(np.array([sizes[group].sum()]))[0]
                assert most[group].sum() >= total


def test_a_division_is_better_than_halves():
    problem = prepare(fleet("lines", 40, 64), table_cost("floored", 64), Rules())
    prover = Prover(problem.words, 64 * 64, problem.cost.table, 40)
    overlaps, values = prover.overlaps, problem.single_prices
    whole = split_overlaps(np.diagonal(overlaps), overlaps, values, 650.0, 900.0)
    halves = prover_ratio(prover, values, (np.full_like(overlaps, 0.5),))
    assert prover_ratio(prover, values, (whole,)) < halves < prover_ratio(prover, values, ())


def prover_ratio(prover, values, divisions):
    split, _ = prover.root
    parts = tuple(OverlapShares.of(split.sizes, split.overlaps, shares) for shares in divisions)
    spectral = (split.spectrum.largest, split.area, len(values), prover.table, prover.limit)
    gains = np.diagonal(prover.overlaps)
    return Branch(0.0, 0, values, gains, split.sizes, split.shares, *spectral, parts).ratio()


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("chips", [FEWEST + 1, 6, 9])
def test_the_largest_group_that_fits_is_in_the_last_interval(chips, known):
    """Chips apart, all of them together just fit: no other group has that value."""
    sizes, overlaps = np.full(chips, 10.0), np.diag(np.full(chips, 10.0))
    limit = 10 * chips
    table = np.append(np.ones(limit + 1), math.inf)
    spectrum = Spectrum.of(sizes, overlaps, 1000.0)
    parts = (OverlapShares.of(sizes, overlaps, np.full_like(overlaps, 0.5)),) if known else ()
    spectral = (spectrum.largest, 1000.0, chips, table, limit)
    branch = Branch(0.0, 0, np.ones(chips), sizes, sizes, np.zeros(chips), *spectral, parts)
    assert branch.ratio() >= chips
