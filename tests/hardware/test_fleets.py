"""Every generator of fleets against the statistics that its source promises."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import cKDTree

from efat import EfatError, SystolicArray
from efat.hardware.fleets import (
    block_fleet,
    clustered_fleet,
    line_fleet,
    mixture_fleet,
    spread_fleet,
    summarise,
    systematic_fleet,
    uniform_fleet,
)
from efat.hardware.fleets.clustered import thomas_points
from efat.reporting.figures.fleet import draw_chips, draw_summary

ARRAY = SystolicArray(16, 24)
PES = 16 * 24
GENERATORS = {
    "uniform": partial(uniform_fleet, fault_rate=0.1),
    "bernoulli": partial(uniform_fleet, fault_rate=0.1, exact=False),
    "spread": partial(spread_fleet, fault_rate=0.1, alpha=2.0),
    "clustered": partial(clustered_fleet, fault_rate=0.1, cluster_size=6.0, radius=1.5),
    "blocks": partial(block_fleet, fault_rate=0.1, alpha=0.5, block_rows=4, block_cols=5),
    "lines": partial(line_fleet, row_rate=0.1, col_rate=0.05),
    "systematic": partial(systematic_fleet, site_rate=0.1, presence=0.8, fault_rate=0.02),
    "mixture": partial(
        mixture_fleet,
        parts=[
            partial(uniform_fleet, fault_rate=0.05),
            partial(line_fleet, row_rate=1, col_rate=0),
        ],
        weights=[3, 1],
    ),
}


def counts(fleet):
    return np.array([chip.fault_map.fault_count for chip in fleet])


def within_variance(sample, variance, sigmas=5):
    """Return whether a sample's variance is within `sigmas` standard errors of `variance`."""
    return within((sample - sample.mean()) ** 2 * len(sample) / (len(sample) - 1), variance, sigmas)


def within(sample, mean, sigmas=5):
    """Return whether a sample's mean is within `sigmas` standard errors of `mean`."""
    return abs(sample.mean() - mean) <= sigmas * sample.std(ddof=1) / np.sqrt(len(sample))


@pytest.mark.parametrize("name", GENERATORS)
def test_a_fleet_follows_from_its_seed_and_a_larger_one_starts_alike(name):
    fleet = GENERATORS[name](ARRAY, 3, 12)
    again, larger = GENERATORS[name](ARRAY, 3, 12), GENERATORS[name](ARRAY, 3, 40)
    other = GENERATORS[name](ARRAY, 4, 12)
    maps = [[chip.fault_map for chip in f] for f in (fleet, again, larger, other)]
    assert maps[0] == maps[1]
    assert maps[0] == maps[2][:12]
    assert maps[0] != maps[3]
    assert len({m.key for m in maps[0]}) > 3, "chips differ"
    assert all(m.shape == (16, 24) for m in maps[0])


def test_a_larger_fleet_over_a_range_has_other_rates():
    few, more = (uniform_fleet(ARRAY, 0, n, [0.0, 0.5]) for n in (5, 9))
    assert counts(few).tolist() != counts(more)[:5].tolist()


@pytest.mark.parametrize(
    ("make", "documented", "tolerance"),
    [
        (partial(spread_fleet, chips=4000, fault_rate=0.1, alpha=0.5), 0.098, 0.0005),
        (partial(spread_fleet, chips=4000, fault_rate=0.3, alpha=0.5), 0.26, 0.005),
        (partial(spread_fleet, chips=4000, fault_rate=0.5, alpha=0.5), 0.36, 0.005),
        (
            partial(block_fleet, chips=1000, fault_rate=0.3, alpha=0.5, block_rows=4, block_cols=4),
            0.26,
            0.005,
        ),
        (
            partial(block_fleet, chips=1000, fault_rate=0.5, alpha=0.5, block_rows=4, block_cols=4),
            0.37,
            0.005,
        ),
    ],
)
def test_cutting_counts_lowers_the_mean_as_documented(make, documented, tolerance):
    rate = counts(make(SystolicArray(16, 16), 0)).mean() / 256
    assert rate == pytest.approx(documented, abs=tolerance)


@pytest.mark.parametrize(("rate", "documented"), [(0.01, 0.009), (0.1, 0.087), (0.3, 0.24)])
def test_clusters_overlap_as_documented(rate, documented):
    found = counts(clustered_fleet(SystolicArray(64, 64), 0, 300, rate, 6, 1.5)).mean() / 64**2
    assert found == pytest.approx(documented, rel=0.01)


def test_bernoulli_counts_are_binomial():
    found = counts(uniform_fleet(ARRAY, 0, 2000, 0.1, exact=False))
    edges = [0, *stats.binom(PES, 0.1).ppf(np.arange(0.1, 1, 0.1)) + 0.5, PES + 1]
    expected = 2000 * np.diff(stats.binom(PES, 0.1).cdf(np.array(edges)))
    observed = np.histogram(found, edges)[0]
    expected *= observed.sum() / expected.sum()
    assert stats.chisquare(observed, expected).pvalue > 1e-4


@pytest.mark.parametrize("exact", [True, False])
def test_uniform_faults_prefer_no_pe(exact):
    fleet = uniform_fleet(ARRAY, 1, 2000, 0.1, exact)
    per_pe = np.sum([chip.fault_map.faulty for chip in fleet], axis=0).ravel()
    assert stats.chisquare(per_pe).pvalue > 1e-4


def test_spread_counts_are_negative_binomial():
    alpha, mean = 2.0, 0.1 * PES
    found = counts(spread_fleet(ARRAY, 0, 3000, 0.1, alpha))
    law = stats.nbinom(alpha, alpha / (alpha + mean))
    assert law.mean() == pytest.approx(mean)
    assert law.var() == pytest.approx(mean + mean**2 / alpha)
    assert within(found, mean)
    assert within((found - mean) ** 2, law.var())
    edges = np.array([-0.5, *law.ppf(np.arange(0.1, 1, 0.1)) + 0.5, PES])
    expected, observed = np.diff(law.cdf(edges)), np.histogram(found, edges)[0]
    assert stats.chisquare(observed, 3000 * expected / expected.sum()).pvalue > 1e-4


def test_thomas_points_have_the_mean_and_variance_of_the_process():
    """Var N = lA + l*mu*I(R)*I(C); I(L) the integral of a normal density of variance 2 r^2."""
    rows, cols, parents, mu, radius = 16, 24, 0.02, 6.0, 1.5
    rng = np.random.default_rng(0)
    found = np.array(
        [len(thomas_points(rows, cols, parents, mu, radius, rng)) for _ in range(4000)]
    )

    def twice_integrated(length):
        s = radius * np.sqrt(2)
        z = length / s
        flat = length * (2 * stats.norm.cdf(z) - 1)
        return flat - 2 * s * (stats.norm.pdf(0) - stats.norm.pdf(z))

    mean = parents * mu * rows * cols
    variance = mean + parents * mu**2 * twice_integrated(rows) * twice_integrated(cols)
    assert within(found, mean)
    assert within((found - mean) ** 2, variance)
    assert variance > 4 * mean, "clustered, not Poisson"


def test_thomas_points_have_the_k_function_of_the_process():
    """A point has lK(h) others within h; K(h) = pi h^2 + (1 - exp(-h^2 / 4r^2)) / parents."""
    side, parents, mu, radius, h = 64, 0.002, 6.0, 2.0, 3.0
    rng, found, centres = np.random.default_rng(0), 0, 0
    for _ in range(300):
        points = thomas_points(side, side, parents, mu, radius, rng)
        inner = points[((points > h) & (points < side - h)).all(axis=1)]
        if len(inner):
            near = cKDTree(points).query_ball_point(inner, h, return_length=True)
            found, centres = found + (near - 1).sum(), centres + len(inner)
    k = np.pi * h**2 + (1 - np.exp(-(h**2) / (4 * radius**2))) / parents
    assert found / centres == pytest.approx(parents * mu * k, rel=0.05)
    assert k > 5 * np.pi * h**2, "clustered, not Poisson"


def test_clustered_maps_are_the_points_rounded_down():
    fleet = clustered_fleet(SystolicArray(64, 64), 0, 200, 0.01, 6.0, 2.0)
    rates = counts(fleet) / 64**2
    assert 0.007 < rates.mean() < 0.01, "a few points share a PE, most do not"
    assert counts(fleet).var() > 3 * counts(fleet).mean()
    single = clustered_fleet(SystolicArray(64, 64), 0, 200, 0.01, 0.01, 2.0)
    assert counts(single).var() < 1.5 * counts(single).mean(), "clusters of one are Poisson"


def test_blocks_are_gamma_poisson_and_independent():
    fleet = block_fleet(ARRAY, 0, 3000, 0.05, 0.5, 8, 8)
    maps = np.array([chip.fault_map.faulty for chip in fleet])
    blocks = maps.reshape(-1, 2, 8, 3, 8).sum(axis=(2, 4)).reshape(3000, 6)
    mean = 0.05 * 64
    assert within(blocks[:, 0], mean)
    assert within((blocks[:, 3] - mean) ** 2, mean + mean**2 / 0.5)
    correlation = np.corrcoef(blocks.T)[np.triu_indices(6, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(3000)


def test_lines_are_whole_rows_and_columns():
    fleet = line_fleet(ARRAY, 0, 1500, 0.1, 0.05)
    for chip in fleet.chips[:50]:
        faulty = chip.fault_map.faulty
        rows, cols = faulty.all(axis=1), faulty.all(axis=0)
        assert (faulty == np.logical_or.outer(rows, cols)).all()
    assert within(counts(fleet) / PES, 1 - 0.9 * 0.95)
    # healthy PEs are (rows left) x (columns left), two independent binomials
    (rows_left, rows_var), (cols_left, cols_var) = (
        (n * p, n * p * (1 - p)) for n, p in ((16, 0.9), (24, 0.95))
    )
    squares = (rows_var + rows_left**2) * (cols_var + cols_left**2)
    assert within_variance(counts(fleet), squares - (rows_left * cols_left) ** 2)


def test_systematic_chips_share_their_sites():
    fleet = systematic_fleet(ARRAY, 0, 1500, 0.1, 0.8, 0.02)
    often = np.mean([chip.fault_map.faulty for chip in fleet], axis=0).ravel()
    sites = np.sort(often)[::-1]
    shared = round(0.1 * PES)
    assert sites[:shared] == pytest.approx(np.full(shared, 0.8 + 0.2 * 0.02), abs=0.06)
    assert sites[shared:] == pytest.approx(np.full(PES - shared, 0.02), abs=0.02)
    rate = 1 - (1 - shared / PES * 0.8) * (1 - 0.02)
    assert within(counts(fleet) / PES, rate)
    at_site = 0.8 + 0.2 * 0.02  # given the sites, PEs are independent
    variance = shared * at_site * (1 - at_site) + (PES - shared) * 0.02 * 0.98
    assert within_variance(counts(fleet), variance)


def test_mixtures_take_parts_by_weight():
    full = counts(GENERATORS["mixture"](ARRAY, 0, 1200)) == PES
    assert stats.binomtest(int(full.sum()), 1200, 0.25).pvalue > 1e-4
    few = round(0.05 * PES)  # the other part has exactly so many faults
    assert within_variance(counts(GENERATORS["mixture"](ARRAY, 0, 1200)), 3 / 16 * (PES - few) ** 2)


def test_summary_against_counting_by_hand():
    fleet = GENERATORS["systematic"](ARRAY, 0, 9)
    maps = [chip.fault_map.faulty for chip in fleet]
    summary = summarise(fleet)
    pairs = [(a, b) for i, a in enumerate(maps) for b in maps[i + 1 :]]
    assert summary.overlap_mean == pytest.approx(
        np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs])
    )
    assert summary.overlap_mean > 3 * summary.overlap_by_chance
    assert summary.union_rate == np.any(maps, axis=0).mean()
    assert summary.faults_variance == pytest.approx(counts(fleet).var())


@pytest.mark.parametrize(
    ("lost", "in_table", "in_title"),
    [(None, "not known yet", ""), ((), "0", ", 0 unsalvageable"), (("a",), "1", ", 1 unsalv")],
)
def test_a_summary_says_who_is_unsalvageable_only_where_that_is_known(lost, in_table, in_title):
    fleet = GENERATORS["uniform"](ARRAY, 0, 3)
    summary = replace(summarise(fleet), unsalvageable=lost)
    assert dict(summary.table())["unsalvageable"] == in_table
    title = draw_summary(fleet, summary).axes[0].get_title()
    assert title.startswith(f"3 chips{in_title}")
    assert ("unsalvageable" in title) == (lost is not None)
    assert summarise(fleet).unsalvageable is None


def test_chance_overlap_is_what_independent_faults_have():
    summary = summarise(uniform_fleet(SystolicArray(64, 64), 0, 200, 0.1))
    assert summary.overlap_mean == pytest.approx(summary.overlap_by_chance, rel=0.02)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (partial(uniform_fleet, chips=0, fault_rate=0.1), "fleet.chips: 0"),
        (partial(uniform_fleet, chips=2, fault_rate=float("nan")), "fleet.fault_rate: nan"),
        (partial(uniform_fleet, chips=2, fault_rate=[0.5, 0.1]), "fleet.fault_rate"),
        (partial(spread_fleet, chips=2, fault_rate=-0.1, alpha=0), "fleet.fault_rate: -0.1"),
        (partial(spread_fleet, chips=2, fault_rate=0.1, alpha=float("inf")), "fleet.alpha: inf"),
        (
            partial(clustered_fleet, chips=2, fault_rate=0.1, cluster_size=0, radius=1),
            "cluster_size",
        ),
        (
            partial(clustered_fleet, chips=2, fault_rate=0.1, cluster_size=1, radius=-1),
            "radius: -1",
        ),
        (
            partial(block_fleet, chips=2, fault_rate=0.1, alpha=1, block_rows=0, block_cols=2.5),
            "block_rows: 0",
        ),
        (partial(line_fleet, chips=2, row_rate=2, col_rate=0), "row_rate: 2"),
        (partial(systematic_fleet, chips=2, site_rate=0.1, presence=1.5), "presence: 1.5"),
        (partial(mixture_fleet, chips=2, parts=[uniform_fleet], weights=[0]), "weights"),
        (partial(mixture_fleet, chips=2, parts=[uniform_fleet], weights=[1, 1]), "weights"),
    ],
)
def test_bad_options_are_named(make, match):
    with pytest.raises(EfatError, match=match):
        make(ARRAY, 0)


def test_all_bad_options_are_named_at_once():
    with pytest.raises(EfatError) as caught:
        block_fleet(ARRAY, 0, 0, 2.0, -1, 0, 0)
    assert len(caught.value.problems) == 5


def test_figures_show_each_fleet_and_its_rates():
    fleets = {name: make(ARRAY, 0, 3) for name, make in GENERATORS.items()}
    figure = draw_chips(fleets, columns=4)
    titles = [axis.get_title() for axis in figure.axes]
    assert [title.split("\n")[0] for title in titles] == list(GENERATORS)
    drawn = figure.axes[0].images[0].get_array()
    assert (np.asarray(drawn) == fleets["uniform"].chips[0].fault_map.faulty).all()
    fleet = fleets["systematic"]
    left, right, *_ = draw_summary(fleet, summarise(fleet)).axes
    assert sum(bar.get_height() for bar in left.patches) == 3
    often = np.mean([chip.fault_map.faulty for chip in fleet], axis=0)
    assert np.asarray(right.images[0].get_array()) == pytest.approx(100 * often)


def test_parts_of_a_mixture_have_random_streams_of_their_own():
    twice = partial(uniform_fleet, fault_rate=0.1)
    fleet = mixture_fleet(ARRAY, 0, 40, parts=[twice, twice], weights=[1, 1])
    assert len({chip.fault_map for chip in fleet}) == 40


def test_clusters_from_beyond_the_edge_reach_in():
    """A margin of 2 radii instead of 5 would lose 3 % of the points of a unit square."""
    rng = np.random.default_rng(0)
    found = np.array([len(thomas_points(1, 1, 20.0, 2.0, 1.0, rng)) for _ in range(4000)])
    assert within(found, 40.0)
