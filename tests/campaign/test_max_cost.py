"""A limit on what the analysis costs: never exceeded, and the same map where it does not bind."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efat.campaign.analysis import CurveReader, analyse, draw_analysis_map
from efat.campaign.experiment import Selection
from efat.campaign.walk import estimate_steps
from efat.hardware.chip import Chip, Fleet
from efat.hardware.fleets import draw_fault_map
from efat.reporting.terminal.stages import describe_map
from efat.resilience.constraint import Constraint
from efat.resilience.rate_search import RateGrid, highest_within_reach
from efat.resilience.resilience_map import ResilienceCurve, build_resilience_map
from efat.resilience.severity import array_rate
from efat.seeds import generator
from efat.training.recipe import Recipe
from tests.campaign.by_hand import ARRAY, BASELINE, FakeRunner, experiment, fault_map

EVERY, BUDGET = 8, 96
POINTS = BUDGET // EVERY + 1
STATS = [("max", 0.9), ("mean", 0.9), ("quantile", 0.5), ("conformal", 0.5)]
crossings = st.sampled_from([*range(0, BUDGET + 1, EVERY), math.inf])
grids = st.integers(1, 4).flatmap(
    lambda maps: st.lists(
        st.lists(crossings, min_size=maps, max_size=maps), min_size=1, max_size=10
    )
)


def curve(rate, repeat, crossing):
    """Return a curve that ends where it meets 1.0, or at the budget."""
    steps = range(0, int(min(crossing, BUDGET)) + 1, EVERY)
    metric = tuple(float(step >= crossing) for step in steps)
    return ResilienceCurve(rate, repeat, rate, tuple(steps), metric)


def searched(needs, stat, quantile, max_cost, repairs=False):
    """Return the curves that a search records among those of `needs`, and the map that it finds."""
    rates = tuple((i + 1) / 20 for i in range(len(needs)))
    grid = RateGrid(rates, len(needs[0]), POINTS, "bisect", max_cost, repairs)
    severities = {rate: (rate,) * grid.maps_per_rate for rate in rates}
    selection = Selection(Constraint(0.5), stat, quantile, "ceil")
    found = ()
    while wanted := grid.next_curves(
        found, selection.amounts_by_rate(found, 1.0, severities), EVERY
    ):
        assert len(set(wanted)) == len(wanted)
        found += tuple(curve(rate, j, needs[rates.index(rate)][j]) for rate, j in wanted)
    return found, selection.read(found, 1.0, severities)


@given(grids, st.sampled_from(STATS), st.sampled_from([0.25, 0.4, 0.9]))
def test_a_limit_is_never_exceeded(needs, stat, share):
    limit = max(share, 1 / len(needs))
    found, read = searched(needs, *stat, limit)
    whole = len(needs) * len(needs[0])
    assert sum(len(c.metric) for c in found) <= limit * whole * POINTS + 1e-6
    assert sum(c.amount_steps[-1] for c in found) <= limit * whole * BUDGET + 1e-6
    repeats = Counter(c.fault_rate for c in found)
    assert {(c.fault_rate, c.repeat) for c in found} == {
        (rate, repeat) for rate, count in repeats.items() for repeat in range(count)
    }
    assert read.severities  # one fault rate at least


@given(grids, st.sampled_from(STATS))
def test_what_a_limited_search_finds_is_what_its_rates_need(needs, stat):
    """Each amount is that of all maps of its rate, also of rates that were given up early."""
    _, read = searched(needs, *stat, max(0.3, 1 / len(needs)))
    rates = [(i + 1) / 20 for i in range(len(needs))]
    every = [
        curve(rate, j, need)
        for rate, row in zip(rates, needs, strict=True)
        for j, need in enumerate(row)
        if rate in read.severities
    ]
    assert build_resilience_map(every, 1.0, *stat, "ceil") == read


@given(grids, st.sampled_from(STATS))
def test_a_limit_that_does_not_bind_changes_no_map(needs, stat):
    limited, same = searched(needs, *stat, 1.0)
    unlimited, read = searched(needs, *stat, None)
    assert same == read
    assert {(c.fault_rate, c.repeat) for c in limited} <= {
        (c.fault_rate, c.repeat) for c in unlimited
    }


def test_a_rate_is_given_up_at_the_first_map_that_is_never_met():
    needs = [[0, 0, 0], [8, math.inf, 8], [math.inf] * 3]
    limited, _ = searched(needs, "max", 0.9, 1.0)
    assert [(c.fault_rate, c.repeat) for c in limited] == [
        (0.1, 0), (0.1, 1), (0.05, 0), (0.05, 1), (0.05, 2),
    ]  # fmt: skip
    two_of_three, _ = searched(needs, "quantile", 0.5, 1.0)
    assert Counter(c.fault_rate for c in two_of_three) == {0.1: 3, 0.15: 2}


def test_rates_that_were_not_finished_are_not_in_the_map():
    curves = [curve(0.1, 0, 8), curve(0.1, 1, 16), curve(0.2, 0, 24), curve(0.3, 0, math.inf)]
    severities = {rate: (rate, rate) for rate in (0.1, 0.2, 0.3)}
    found = build_resilience_map(curves, 1.0, severities=severities)
    assert (found.severities, found.amounts_steps) == ((0.1, 0.3), (16, math.inf))
    assert build_resilience_map(curves, 1.0).amounts_steps == (16, 24, math.inf)


def test_a_rate_lies_where_all_its_maps_do_whichever_has_a_curve():
    """The one map of 0.3 that was measured is milder than those of 0.2, its mean is not."""
    curves = [
        replace(curve(0.2, repeat, 8), severity=severity)
        for repeat, severity in enumerate((0.20, 0.21, 0.19))
    ]
    curves.append(replace(curve(0.3, 0, math.inf), severity=0.18))
    severities = {0.2: (0.20, 0.21, 0.19), 0.3: (0.18, 0.23, 0.25)}
    found = build_resilience_map(curves, 1.0, severities=severities)
    assert (found.max_severity, found.severities[-1]) == (pytest.approx(0.2), pytest.approx(0.22))


@pytest.mark.parametrize("repairs", [False, True])
@pytest.mark.parametrize("whole_curves", [10, 29, 57, 58, 93, 100])
def test_a_limit_of_so_many_whole_curves_has_room_for_them(whole_curves, repairs):
    """0.58 * 100 is a little less than 58."""
    rates = tuple(i / 20 for i in range(1, 11))
    grid = RateGrid(rates, 10, POINTS, "bisect", whole_curves / 100, repairs)
    found = ()
    while wanted := grid.next_curves(found, {}, EVERY):
        found += tuple(curve(rate, repeat, math.inf) for rate, repeat in wanted)
    assert len(found) == whole_curves


@given(grids, st.sampled_from(STATS))
def test_repairs_are_limited_too(needs, stat):
    limit = max(0.25, 1 / len(needs))
    found, read = searched(needs, *stat, limit, repairs=True)
    assert len(found) <= limit * len(needs) * len(needs[0]) + 1e-6
    assert read.severities


@pytest.mark.parametrize("step", ["remap", "compensate", "recalibrate"])
def test_the_recipe_tells_whether_curves_begin_with_a_repair(step):
    assert not reader(experiment()).grid.repairs
    assert reader(experiment(recipe=Recipe((step, "retrain")))).grid.repairs


@given(grids, st.sampled_from(STATS), st.sampled_from([0.25, 0.4, None]))
def test_no_limit_hides_more_than_what_is_within_reach(needs, stat, share):
    """The map of the whole grid ends where a limited one says that it may, or before."""
    limit = share and max(share, 1 / len(needs))
    _, read = searched(needs, *stat, limit)
    rates = [(i + 1) / 20 for i in range(len(needs))]
    amounts = dict(zip(read.severities, read.amounts_steps, strict=True))
    end = highest_within_reach({rate: rate for rate in rates}, amounts)
    every = [
        curve(rate, j, need)
        for rate, row in zip(rates, needs, strict=True)
        for j, need in enumerate(row)
    ]
    assert read.max_severity <= end
    assert build_resilience_map(every, 1.0, *stat, "ceil").max_severity <= end
    if limit is None:  # all is known
        assert end == read.max_severity


def test_a_chip_is_undecided_only_where_a_larger_limit_might_know_more():
    chips = tuple(Chip(f"chip{k}", fault_map(*range(k))) for k in (4, 7, 9, 11))
    names = [chip.chip_id for chip in chips]
    for max_cost, needs, undecided in (
        (0.44, NEEDS, ()),  # 0.5 is out of reach, 0.375 is not, and no rate is between them
        (0.2, dict.fromkeys(NEEDS, (0, 0)), ("chip9",)),  # 0.625 is not looked at
        (0.2, dict.fromkeys(NEEDS, (60, 60)) | {0.125: (0, 0)}, ("chip4",)),  # nor 0.25
        (1.0, dict.fromkeys(NEEDS, (0, 0)), ()),
    ):
        here = replace(limited(max_cost), fleet=Fleet(chips))
        found = analyse(here, ByMap(needs), BASELINE, array_rate)
        lost = [
            name
            for name, chip in zip(names, chips, strict=True)
            if found.resilience_map.amount(chip.fault_map.fault_rate) == math.inf
        ]
        assert found.undecided(chips, lost, array_rate) == undecided, (max_cost, lost)


def test_each_map_is_drawn_from_a_stream_of_its_rate_and_repeat():
    """Stores hold results of these maps: another stream would be another experiment."""
    for rate, repeat in ((0.25, 0), (0.25, 1), (0.5, 0)):
        stream = generator(5, "analyse", rate, repeat)
        assert draw_analysis_map(experiment(), rate, repeat) == draw_fault_map(ARRAY, rate, stream)


def test_the_work_ahead_is_guessed_by_the_limit():
    whole, quarter = (estimate_steps(limited(share), "analyse")["analyse"] for share in (None, 0.5))
    assert (whole, quarter) == (10 * (40 + 6), 5 * (40 + 6))


def reader(here):
    return CurveReader(here, array_rate, 0.625)


class ByMap(FakeRunner):
    """Answers each training with a curve that crosses 0.625 at amounts set for the maps of a rate,
    in the order in which they come."""

    def __init__(self, needs):
        super().__init__()
        self.needs = {rate: list(found) for rate, found in needs.items()}

    def trained(self, job):
        need = self.needs[job.fault_map.fault_rate].pop(0)
        steps = [step for step in (0, 20, 40) if step <= need]
        metric = [0.75 if step == need else 0.5 for step in steps]
        return super().trained(job) | {"amount_steps": steps, "metric": metric}


NEEDS = {0.125: (0, 0), 0.25: (20, 0), 0.375: (40, 0), 0.5: (0, 60), 0.625: (60, 60)}


def limited(max_cost):
    return experiment(
        fault_rates=tuple(NEEDS), maps_per_rate=2, search="bisect", until_met=True,
        max_cost=max_cost,
    )  # fmt: skip


@pytest.mark.parametrize(("max_cost", "last"), [(0.4, []), (0.44, [[0.25]])])
def test_maps_are_measured_one_after_the_other_until_the_limit(max_cost, last):
    """A whole curve has 3 evaluations: 12 of 30 leave no room for 0.25, 13 only for its first."""
    here, campaign = limited(max_cost), ByMap(NEEDS)
    found = analyse(here, campaign, BASELINE, array_rate)
    asked = [[job.fault_map.fault_rate for job in jobs] for _, _, jobs in campaign.asked]
    assert asked == [[0.375], [0.375], [0.5, 0.125], [0.5, 0.125], *last]
    read = found.resilience_map
    assert (read.severities, read.amounts_steps) == ((0.125, 0.375, 0.5), (0, 40, math.inf))


def test_the_terminal_says_that_the_limit_ended_the_search():
    said = {}
    for max_cost in (0.44, 1.0):
        here = limited(max_cost)
        found = analyse(here, ByMap(NEEDS), BASELINE, array_rate)
        said[max_cost] = describe_map(here, found)
    assert said[0.44].startswith(
        "analysis   7 curves at 4 of 5 fault rates; fault_rates.max_cost ended the search, the map "
        "is read off 3 fault rates; the map reaches 38%"
    )
    assert "max_cost" not in said[1.0]
    hopeless = {faults / 16: (60, 60) for faults in range(1, 11)}
    here = replace(limited(0.1), fault_rates=tuple(hopeless))
    found = analyse(here, ByMap(hopeless), BASELINE, array_rate)
    said = describe_map(here, found)
    assert said == (
        "analysis   2 curves at 2 of 10 fault rates; fault_rates.max_cost ended the search, the "
        "map is read off 2 fault rates; none of these reaches it within the budget"
    )
