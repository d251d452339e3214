"""One contract for all planners of `conf/planner`: add a file and a config, and it is tested."""

import math
from functools import reduce
from operator import or_

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st

from efat import EfatError, FaultMap
from efat.config import CONF, compose_jobs
from efat.hardware.chip import Chip
from efat.planning import Random
from efat.planning.cost import no_cost
from efat.planning.plan import info_of, make_plan
from efat.planning.planners.greedy import Greedy

SEARCHING = {"greedy"}


def planner_of(name):
    return instantiate(compose_jobs([f"planner={name}"])[0].planner)


ALL = sorted(path.stem for path in (CONF / "planner").glob("*.yaml"))
PLANNERS = [name for name in ALL if info_of(planner_of(name)).needs_map]
WITHOUT_MAP = [name for name in ALL if name not in PLANNERS]


def chips_of(count, low=0.01, high=0.25, seed=0, size=16):
    rng = np.random.default_rng(seed)
    rates = np.linspace(low, high, count)
    return [Chip(f"c{i:02d}", FaultMap(rng.random((size, size)) < r)) for i, r in enumerate(rates)]


def concave(fault_map):
    return math.inf if fault_map.fault_rate > 0.4 else math.ceil(100 * fault_map.fault_rate**0.4)


def convex(fault_map):
    return math.inf if fault_map.fault_rate > 0.3 else math.ceil(900 * fault_map.fault_rate**2)


def floor(fault_map):
    return math.inf if fault_map.fault_rate > 0.3 else 20 + 10 * (fault_map.fault_rate > 0.2)


COSTS = (concave, convex, floor)


def test_there_is_a_planner_to_test():
    assert {"individual", "fixed", "single", "random", "greedy"} <= set(PLANNERS)
    assert WITHOUT_MAP == ["early_stop", "no_remap"]


@pytest.mark.parametrize("name", ALL)
def test_a_planner_is_called_in_tables_what_its_configuration_is(name):
    assert info_of(planner_of(name)).name == name


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", PLANNERS)
def test_contract(name, cost):
    chips = chips_of(14, high=0.5)
    plan = planner_of(name)(chips, cost, seed=0)
    maps = {chip.chip_id: chip.fault_map for chip in chips}
    placed = [member for group in plan.groups for member in group.members]
    assert sorted([*placed, *plan.unsalvageable]) == sorted(maps)  # each chip exactly once
    assert plan.unsalvageable == tuple(n for n, m in maps.items() if cost(m) == math.inf)
    assert plan.unsalvageable
    for group in plan.groups:
        assert group.fused == reduce(or_, (maps[member] for member in group.members))
        assert group.amount_steps >= max(cost(maps[member]) for member in group.members)
    assert plan.total_steps == sum(group.amount_steps for group in plan.groups)
    assert plan == planner_of(name)(chips[::-1], cost, seed=0)  # order of chips does not matter
    individual = planner_of("individual")(chips, cost, seed=0)
    if name in SEARCHING:
        assert plan.total_steps <= individual.total_steps


@pytest.mark.parametrize("name", WITHOUT_MAP)
def test_contract_of_those_that_need_no_map(name):
    chips = chips_of(14, high=0.5)
    plan = make_plan(planner_of(name), chips, no_cost, 0)
    placed = [member for group in plan.groups for member in group.members]
    assert (sorted(placed), plan.unsalvageable) == ([chip.chip_id for chip in chips], ())
    maps = {chip.chip_id: chip.fault_map for chip in chips}
    assert all(g.fused.covers(maps[member]) for g in plan.groups for member in g.members)
    assert plan.until_met
    assert plan == make_plan(planner_of(name), chips[::-1], no_cost, 0)


@given(
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.sampled_from([None, 1, 3]),
    st.sampled_from(COSTS),
)
def test_greedy_never_costs_more_than_individual_and_only_takes_feasible_groups(
    seed, count, k, cost
):
    chips = chips_of(count, seed=seed, size=8)
    plan = Greedy(k=k)(chips, cost, seed)
    alone = [cost(chip.fault_map) for chip in chips]
    assert plan.total_steps <= sum(amount for amount in alone if amount < math.inf)
    assert all(group.amount_steps < math.inf for group in plan.groups)


def test_greedy_merges_equal_maps_for_free():
    twin = chips_of(1, 0.2, 0.2)[0].fault_map
    plan = Greedy()([Chip("a", twin), Chip("b", twin), Chip("c", twin)], concave, 0)
    assert [group.members for group in plan.groups] == [("a", "b", "c")]
    assert plan.total_steps == concave(twin)


def test_greedy_with_candidates_is_drawn_from_the_seed():
    chips = chips_of(30)
    plans = {seed: Greedy(k=1, max_sweeps=1)(chips, concave, seed) for seed in (0, 0, 1)}
    assert plans[0] == Greedy(k=1, max_sweeps=1)(chips, concave, 0)
    assert plans[0] != plans[1]


def test_random_takes_the_sizes_in_turn():
    plan = Random([3, 1])(chips_of(9, high=0.02), concave, 0)
    assert sorted(len(group.members) for group in plan.groups) == [1, 1, 1, 3, 3]


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (
            lambda: Greedy(k=0, max_sweeps=-1),
            r"(?s)planner.k: 0 given.*planner.max_sweeps: -1 given",
        ),
        (lambda: Random([]), r"planner.sizes: \[\] given; ints >= 1"),
        (lambda: Random([2, 0]), r"planner.sizes: \[2, 0\] given"),
    ],
)
def test_bad_options(build, match):
    with pytest.raises(EfatError, match=match):
        build()
