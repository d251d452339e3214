"""Bad fleets, costs and rules: one error that names each chip or key."""

from __future__ import annotations

import math

import numpy as np
import pytest

from efat import EfatError, FaultMap
from efat.hardware.chip import Chip
from efat.planning import Individual, Single
from efat.planning.cost import CountCost
from efat.planning.planners.exact import Exact
from efat.planning.planners.greedy import Greedy
from efat.planning.planners.local_search import LocalSearch
from efat.planning.planners.min_cost import MinCost
from efat.planning.rules import Rules
from tests.planning.fleets import fleet, table_cost

COST = table_cost("concave", 16)


def plan(planner, chips, cost=COST):
    return planner(chips, cost, 0)


def test_fleet_problems_come_all_at_once() -> None:
    chips = fleet("uniform", 4, 16)
    odd = Chip("odd", FaultMap(np.zeros((8, 16), dtype=bool)))
    with pytest.raises(EfatError) as caught:
        plan(Greedy(rules=Rules(alone=["nobody"])), [*chips, chips[0], odd])
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    assert "chip 'c00000': used 2 times" in problems
    assert "chip 'odd': array of 8x16 PEs, the others have 16x16" in problems
    assert "rules.alone: 'nobody' given; no chip of the fleet has that name" in problems


def test_empty_fleet() -> None:
    with pytest.raises(EfatError, match="fleet: no chip in it"):
        plan(MinCost(), [])


@pytest.mark.parametrize("planner", [Greedy(), MinCost(), Single(), Individual()])
def test_nan_and_negative_costs_name_the_chip(planner) -> None:
    chips = fleet("uniform", 4, 16)
    bad = chips[2].fault_map
    for value in (math.nan, -1.0):
        with pytest.raises(EfatError, match=f"chip 'c00002': its cost is {value}"):
            plan(planner, chips, lambda m, value=value: value if m == bad else 1.0)


def test_nan_for_a_union() -> None:
    chips = fleet("uniform", 4, 16)
    alone = {chip.fault_map for chip in chips}
    with pytest.raises(EfatError, match="cost: nan for a fused map with"):
        plan(Greedy(), chips, lambda m: 1.0 if m in alone else math.nan)


def test_a_cost_that_falls_with_more_faults_names_a_chip() -> None:
    chips = fleet("uniform", 6, 16)
    with pytest.raises(EfatError, match=r"chip 'c0000\d': its cost is .* must not cost less"):
        plan(Greedy(), chips, lambda m: 100.0 - m.fault_count / 10)


def test_bad_tables() -> None:
    with pytest.raises(EfatError, match="cost: amount nan at 1 faults"):
        CountCost([0.0, math.nan, 2.0])
    with pytest.raises(EfatError, match=r"cost: 1.0 steps at 2 faults, but 3.0 at 1"):
        CountCost([0.0, 3.0, 1.0])
    with pytest.raises(EfatError, match="cost: made for 4 PEs, asked for a map of 16x16"):
        plan(Greedy(), fleet("uniform", 2, 16), CountCost(np.arange(5.0)))


def test_bad_rules_come_all_at_once() -> None:
    with pytest.raises(EfatError) as caught:
        Rules(max_groups=0, max_members=1.5, price_group=-1, price_step=math.nan, eval_every=-2)
    keys = [problem.split(":")[0] for problem in caught.value.problems]
    assert sorted(keys) == [
        "rules.eval_every",
        "rules.max_groups",
        "rules.max_members",
        "rules.price_group",
        "rules.price_step",
    ]


def test_bad_options() -> None:
    with pytest.raises(EfatError, match=r"planner.iterations: -1 given"):
        LocalSearch(iterations=-1)
    with pytest.raises(EfatError, match=r"planner.chunk: 1 given"):
        MinCost(chunk=1)
    with pytest.raises(EfatError, match=r"planner.effort: 'much' given; allowed: cheap, full"):
        plan(Greedy(effort="much"), fleet("uniform", 2, 16))
    with pytest.raises(EfatError, match="exact was given 25 chips that may be grouped; at most 20"):
        plan(Exact(), fleet("uniform", 25, 16))


def test_too_few_groups_whatever_the_faults() -> None:
    rules = Rules(max_groups=3, max_members=2, alone=["c00001"])
    with pytest.raises(EfatError, match=r"max_groups: 3 given; a plan puts 5 chips .* at least 4"):
        plan(Greedy(rules=rules), fleet("uniform", 6, 16))


@pytest.mark.parametrize("planner", [Greedy, MinCost, Exact])
def test_too_few_groups_for_the_largest_map(planner) -> None:
    maps = [np.arange(256).reshape(16, 16) // 85 == i for i in range(3)]
    chips = [Chip(f"c{i}", FaultMap(m)) for i, m in enumerate(maps)]
    with pytest.raises(EfatError, match=r"rules.max_groups: 2 given; .*raise it"):
        plan(planner(rules=Rules(max_groups=2)), chips)
    assert len(plan(planner(rules=Rules(max_groups=3)), chips).groups) == 3


def test_baselines_refuse_rules_that_they_cannot_keep() -> None:
    chips = fleet("uniform", 6, 16)
    with pytest.raises(EfatError, match=r"rules.max_groups: 2 given; individual puts 6 chips"):
        plan(Individual(rules=Rules(max_groups=2)), chips)
    with pytest.raises(EfatError, match=r"rules.max_members: 2 given; single makes a group of 6"):
        plan(Single(rules=Rules(max_members=2)), chips)


def test_unsalvageable_chips_are_listed_even_if_all_are_or_must_stay_alone() -> None:
    full = [Chip(f"x{i}", FaultMap(np.ones((16, 16), dtype=bool))) for i in range(2)]
    chips = fleet("uniform", 3, 16)
    for planner in (Greedy(), MinCost(), Exact(), Single(rules=Rules(alone=["x0"]))):
        assert plan(planner, [*chips, *full]).unsalvageable == ("x0", "x1")
        assert plan(MinCost(), full).groups == ()
