import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from efat import EfatError
from efat.resilience.constraint import Constraint
from efat.resilience.resilience_map import ResilienceCurve, ResilienceMap, build_resilience_map

accuracies = st.lists(st.floats(0, 1), min_size=4, max_size=4)
amounts = st.lists(st.integers(0, 100), min_size=1, max_size=6)


def curve(rate, accuracy, repeat=0, severity=None):
    steps = tuple(4 * i for i in range(len(accuracy)))
    return ResilienceCurve(
        rate, repeat, rate if severity is None else severity, steps, tuple(accuracy)
    )


@given(accuracies, st.floats(0, 1))
def test_crossing_is_the_first_amount_that_reaches_the_target(accuracy, target):
    got = curve(0.1, accuracy).crossing(target)
    reached = [4.0 * i for i, a in enumerate(accuracy) if a >= target]
    assert got == (reached[0] if reached else math.inf)


def test_stats_over_repeats():
    curves = [
        curve(0.1, accuracy, repeat)
        for repeat, accuracy in enumerate(([0.9, 1, 1, 1], [0.5, 0.9, 1, 1], [0.5, 0.5, 0.5, 0.9]))
    ]
    crossings = [0, 4, 12]
    assert build_resilience_map(curves, 0.9, "max").amounts_steps == (12,)
    assert build_resilience_map(curves, 0.9, "mean").amounts_steps == (np.mean(crossings),)
    assert build_resilience_map(curves, 0.9, "quantile", 0.5).amounts_steps == (4,)
    assert build_resilience_map(curves, 0.9, "quantile", 0.51).amounts_steps == (12,)


def test_one_repeat_that_never_gets_there_is_inf_for_max_and_mean_not_for_a_quantile():
    curves = [curve(0.1, [1, 1]), curve(0.1, [1, 1], 1), curve(0.1, [0, 0], 2)]
    assert build_resilience_map(curves, 0.9, "max").amounts_steps == (math.inf,)
    assert build_resilience_map(curves, 0.9, "mean").amounts_steps == (math.inf,)
    assert build_resilience_map(curves, 0.9, "quantile", 0.5).amounts_steps == (0,)
    assert build_resilience_map(curves, 0.9, "quantile", 1.0).amounts_steps == (math.inf,)


def test_the_envelope_never_decreases_and_stays_inf():
    curves = [curve(0.1, [0, 0, 1]), curve(0.2, [0, 1]), curve(0.3, [0, 0]), curve(0.4, [1, 1])]
    built = build_resilience_map(curves, 0.9)
    assert built.amounts_steps == (8, 8, math.inf, math.inf)
    assert built.max_severity == 0.2


def test_the_grid_lies_at_the_mean_severity_of_the_repeats():
    curves = [curve(0.1, [1], 0, severity=0.02), curve(0.1, [1], 1, severity=0.04)]
    assert build_resilience_map(curves, 0.9).severities == (0.03,)


@pytest.mark.parametrize("maps", [3, 7, 10, 14])
def test_a_chip_of_exactly_a_measured_rate_is_not_beyond_the_map(maps):
    """The mean of equal rates, as sum / count, may be below them."""
    rates = [percent / 100 for percent in range(1, 100)]
    curves = [curve(rate, [0, 1], repeat) for rate in rates for repeat in range(maps)]
    built = build_resilience_map(curves, 0.9)
    assert built.severities == tuple(rates)
    assert built.amount(rates[-1]) < math.inf


@given(amounts, st.floats(0, 1), st.sampled_from(["linear", "ceil"]))
def test_amounts_never_decrease_with_severity_and_are_whole_steps(steps, severity, interpolation):
    steps = sorted(steps)
    grid = tuple((i + 1) / len(steps) for i in range(len(steps)))
    built = ResilienceMap(0.9, grid, tuple(map(float, steps)), interpolation)
    got = built.amount(severity)
    assert got == int(got)
    assert got <= built.amount(min(1.0, severity + 0.05))
    slow = np.interp(severity, (0, *grid), (0, *steps))
    if interpolation == "linear":
        assert slow - 1e-6 <= got < slow + 1
    else:
        assert got == next(s for g, s in zip((0, *grid), (0, *steps), strict=True) if g >= severity)


def test_ceil_is_never_below_linear():
    built = {i: ResilienceMap(0.9, (0.1, 0.4), (8, 40), i) for i in ("linear", "ceil")}
    for severity in np.linspace(0, 0.4, 41):
        assert built["ceil"].amount(severity) >= built["linear"].amount(severity)
    assert built["ceil"].amount(0.11) == 40
    assert built["linear"].amount(0.25) == 24


def test_beyond_p_max_is_inf_never_extrapolated():
    built = ResilienceMap(0.9, (0.1, 0.2, 0.3), (8, 16, math.inf))
    assert built.amount(0.2) == 16
    assert built.amount(0.2000001) == math.inf
    assert built.amount(1.0) == math.inf
    assert ResilienceMap(0.9, (0.1,), (math.inf,)).max_severity == 0
    assert ResilienceMap(0.9, (0.1,), (8,)).amount(0.0) == 0


@pytest.mark.parametrize("severity", [-0.1, 1.1, math.nan])
def test_a_severity_outside_0_1_is_refused(severity):
    with pytest.raises(EfatError, match=r"severity: .* a number in \[0, 1\]"):
        ResilienceMap(0.9, (0.1,), (8,)).amount(severity)


def test_all_problems_of_a_map_come_at_once():
    with pytest.raises(EfatError) as caught:
        ResilienceMap(0.9, (0.2, 0.1), (8, 4), "cubic")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("steps", "accuracy"), [((0, 4), (1,)), ((), ()), ((4, 8), (1, 1)), ((0, 8, 4), (1, 1, 1))]
)
def test_a_curve_that_is_none_is_refused(steps, accuracy):
    with pytest.raises(EfatError, match="curve: "):
        ResilienceCurve(0.1, 0, 0.1, steps, accuracy)


def test_constraint_is_one_of_two():
    assert Constraint(max_drop=0.01).target(0.99) == pytest.approx(0.98)
    assert Constraint(limit=0.5).target(0.99) == 0.5
    for both in ({}, {"max_drop": 0.1, "limit": 0.9}):
        with pytest.raises(EfatError, match="give one of them and set the other to null"):
            Constraint(**both)
    with pytest.raises(EfatError, match=r"selection.max_drop: 1.5 given; a number in \[0, 1\]"):
        Constraint(max_drop=1.5)


def curves_at(rate, crossings):
    """Return a curve per crossing, which reaches 1 there; never, if that is beyond 500 steps."""
    curves = []
    for i, need in enumerate(crossings):
        steps, metric = ((0, int(need)), (0.0, 1.0)) if 0 < need <= 500 else ((0,), (need == 0,))
        curves.append(ResilienceCurve(rate, i, rate, steps, metric))
    return curves


def needs_of(rng, count):
    """Draw the amounts of new chips: skewed, inf for 4 % of them."""
    needs = np.ceil(rng.gamma(2.0, 50, count))
    return np.where((rng.random(count) < 0.04) | (needs > 500), np.inf, needs)


@pytest.mark.parametrize(("maps", "rank"), [(9, 9), (12, 12), (19, 18)])
def test_conformal_amounts_are_enough_for_nine_of_ten_fresh_chips(maps, rank):
    rng, enough = np.random.default_rng(0), []
    for _ in range(400):  # analyses, each with 200 new chips
        built = build_resilience_map(
            curves_at(0.1, needs_of(rng, maps)), 1.0, "conformal", 0.9, "ceil"
        )
        enough.append(np.mean(needs_of(rng, 200) <= built.amount(0.1)))
    error = 3 * np.std(enough) / math.sqrt(len(enough))
    assert np.mean(enough) == pytest.approx(rank / (maps + 1), abs=error + 0.005)  # some ties
    assert np.mean(enough) >= 0.9 - error


def test_conformal_amounts_are_order_statistics():
    curves = curves_at(0.1, [8, 16, 24, 32, 40, 48, 56, 64, 400])
    assert build_resilience_map(curves, 1.0, "conformal", 0.9, "ceil").amounts_steps == (400,)
    assert build_resilience_map(curves, 1.0, "conformal", 0.8, "ceil").amounts_steps == (64,)
    assert build_resilience_map(curves, 1.0, "conformal", 0.5, "ceil").amounts_steps == (40,)
    with pytest.raises(EfatError, match=r"maps_per_rate: 8 given; .* needs at least 9"):
        build_resilience_map(curves[:8], 1.0, "conformal", 0.9, "ceil")
    with pytest.raises(EfatError, match="needs at least no number"):
        build_resilience_map(curves, 1.0, "conformal", 1.0, "ceil")


@given(accuracies, st.floats(0, 1), st.integers(1, 4))
def test_a_sustained_crossing_is_the_first_of_so_many_in_a_row(accuracy, target, sustained):
    got = curve(0.1, accuracy).crossing(target, sustained)
    starts = [i for i in range(5 - sustained) if min(accuracy[i : i + sustained]) >= target]
    assert got == (4.0 * starts[0] if starts else math.inf)
    built = build_resilience_map([curve(0.1, accuracy)], target, sustained=sustained)
    assert built.amounts_steps == (got,)


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=4), min_size=1, max_size=6))
def test_isotonic_amounts_are_the_least_squares_fit_to_every_crossing(needs):
    rates = [(i + 1) / 10 for i in range(len(needs))]
    curves = [c for rate, some in zip(rates, needs, strict=True) for c in curves_at(rate, some)]
    built = build_resilience_map(curves, 1.0, "mean", monotone="isotonic")
    x = [rate for rate, some in zip(rates, needs, strict=True) for _ in some]
    fitted = IsotonicRegression().fit(x, [need for some in needs for need in some])
    assert built.amounts_steps == pytest.approx(tuple(fitted.predict(rates)))
    if all(np.diff([np.mean(some) for some in needs]) >= 0):
        assert built.amounts_steps == pytest.approx([np.mean(some) for some in needs])


def test_isotonic_amounts_stay_inf_from_the_first_rate_that_is_out_of_reach():
    curves = [c for i, need in enumerate((24, 8, 600, 8)) for c in curves_at((i + 1) / 10, [need])]
    built = build_resilience_map(curves, 1.0, "mean", monotone="isotonic")
    assert built.amounts_steps == (16, 16, math.inf, math.inf)
    assert build_resilience_map(curves, 1.0, "mean").amounts_steps == (24, 24, math.inf, math.inf)
    none = build_resilience_map(curves_at(0.1, [600]), 1.0, "mean", monotone="isotonic")
    assert none.amounts_steps == (math.inf,)


@pytest.mark.parametrize("stat", ["max", "quantile", "conformal"])
def test_what_is_no_mean_is_not_averaged_over_rates(stat):
    with pytest.raises(EfatError, match=rf"selection.monotone: isotonic .* selection.stat={stat} "):
        build_resilience_map(curves_at(0.1, [8] * 9), 1.0, stat, monotone="isotonic")
