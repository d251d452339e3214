"""One table: every planner on every fleet kind and cost keeps the promises of a plan."""

from __future__ import annotations

import math
from functools import reduce
from operator import or_

import numpy as np
import pytest

from efat.planning import Fixed, Individual, Random, Single
from efat.planning.plan import Plan
from efat.planning.planners.base import GroupingPlanner
from efat.planning.planners.exact import Exact
from efat.planning.planners.greedy import Greedy
from efat.planning.planners.hierarchical import Hierarchical
from efat.planning.planners.local_search import LocalSearch
from efat.planning.planners.min_cost import MinCost
from efat.planning.planners.packing import Packing
from efat.planning.rules import Rules
from tests.planning.fleets import CURVES, KINDS, fleet, table_cost

BASELINES = {
    "individual": Individual,
    "fixed": Fixed,
    "single": Single,
    "random": lambda **options: Random(sizes=(2, 3), **options),
}
OPTIMISERS = {
    "greedy": Greedy,
    "greedy_k3": lambda **options: Greedy(k=3, **options),
    "hierarchical": Hierarchical,
    "packing": Packing,
    "local_search": LocalSearch,
    "exact": Exact,
    "min_cost": MinCost,
}
PLANNERS = BASELINES | OPTIMISERS
CHIPS = 13
SIDE = 16


def plan_of(name: str, kind: str, curve: str, rules: Rules | None = None) -> Plan:
    planner = PLANNERS[name](rules=rules or Rules())
    return planner(fleet(kind, CHIPS, SIDE), table_cost(curve, SIDE), seed=3)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLANNERS)
def test_contract(name: str, kind: str, curve: str) -> None:
    chips, cost = fleet(kind, CHIPS, SIDE), table_cost(curve, SIDE)
    planner: GroupingPlanner = PLANNERS[name]()
    plan = planner(chips, cost, seed=3)
    maps = {chip.chip_id: chip.fault_map for chip in chips}

    lost = tuple(sorted(n for n, m in maps.items() if math.isinf(cost(m))))
    assert plan.unsalvageable == lost
    assert sorted([n for g in plan.groups for n in g.members] + list(lost)) == sorted(maps)
    for group in plan.groups:
        assert group.members == tuple(sorted(group.members))
        assert group.fused == reduce(or_, (maps[n] for n in group.members))
        assert all(group.fused.covers(maps[n]) for n in group.members)
        if name != "fixed":
            assert group.amount_steps == cost(group.fused)
        assert group.amount_steps >= max(cost(maps[n]) for n in group.members)
    assert plan.total_steps == sum(g.amount_steps for g in plan.groups) == plan.price
    assert list(plan.groups) == sorted(plan.groups, key=lambda g: (-g.amount_steps, g.members))
    assert plan.bound <= plan.price

    shuffled = [chips[i] for i in np.random.default_rng(0).permutation(len(chips))]
    again = PLANNERS[name]()(shuffled, cost, seed=3)
    assert again == plan

    individual = Individual()(chips, cost, seed=0).price
    if name in OPTIMISERS:
        assert plan.price <= individual
    if name != "fixed" and plan.price < math.inf:
        saved = sum(merge.reward for merge in plan.merges)
        assert individual - saved == pytest.approx(plan.price)


@pytest.mark.parametrize("alone", [(), ("c00000", "c00003", "c00007")])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLANNERS)
def test_history_rebuilds_the_groups(name: str, kind: str, alone: tuple[str, ...]) -> None:
    plan = plan_of(name, kind, "concave", Rules(alone=alone))
    nodes = [{chip} for chip in plan.chip_names]
    live = set(range(len(nodes)))
    for merge in plan.merges:
        live -= {merge.left, merge.right}
        nodes.append(nodes[merge.left] | nodes[merge.right])
        live.add(len(nodes) - 1)
    assert {tuple(sorted(nodes[i])) for i in live} == {group.members for group in plan.groups}


def rule_breaks(plan: Plan, rules: Rules) -> list[str]:
    broken = []
    if rules.max_groups is not None and len(plan.groups) > rules.max_groups:
        broken.append("max_groups")
    members = rules.max_members
    if members is not None and any(len(g.members) > members for g in plan.groups):
        broken.append("max_members")
    if any(len(g.members) > 1 and set(g.members) & set(rules.alone) for g in plan.groups):
        broken.append("alone")
    if rules.eval_every and any(g.amount_steps % rules.eval_every for g in plan.groups):
        broken.append("eval_every")
    return broken


RULES = {
    "max_groups": Rules(max_groups=6),
    "max_members": Rules(max_members=2),
    "alone": Rules(alone=("c00003", "c00007")),
    "eval_every": Rules(eval_every=40),
    "prices": Rules(price_group=30.0, price_step=0.5),
    "all": Rules(9, 3, 10.0, 2.0, ("c00001",), 25),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_rules_are_honoured(name: str, rule: str, kind: str) -> None:
    rules = RULES[rule]
    plan = plan_of(name, kind, "floored", rules)
    assert not rule_breaks(plan, rules)
    best = plan_of("exact", kind, "floored", rules)
    assert best.bound - 1e-6 <= best.price <= plan.price
    assert plan.bound <= best.price
    assert plan.price == pytest.approx(
        sum(rules.price_group + rules.price_step * g.amount_steps for g in plan.groups)
    )
    cost = table_cost("floored", SIDE)
    alone_price = sum(rules.price(cost(chip.fault_map)) for chip in fleet(kind, CHIPS, SIDE))
    if rules.max_groups is None:
        assert plan.price <= alone_price
    saved = sum(merge.reward for merge in plan.merges)
    assert alone_price - saved == pytest.approx(plan.price)


def test_rules_bite() -> None:
    """Without the rule the plan would break it: so the test above tests something."""
    free = plan_of("exact", "clustered", "floored")
    assert {
        r: bool(rule_breaks(free, RULES[r])) for r in ("max_members", "alone", "eval_every")
    } == {
        "max_members": True,
        "alone": True,
        "eval_every": True,
    }
    assert rule_breaks(plan_of("exact", "uniform", "convex_end"), RULES["max_groups"])


@pytest.mark.parametrize("name", OPTIMISERS)
def test_plain_callables_give_the_plan_of_the_table(name: str) -> None:
    chips, cost = fleet("clustered", 9, SIDE), table_cost("concave", SIDE)
    with_table = PLANNERS[name]()(chips, cost, seed=1)
    plain = PLANNERS[name]()(chips, lambda fault_map: cost(fault_map), seed=1)
    if name != "packing":  # it models the price from the table, where there is one
        assert plain.groups == with_table.groups
    assert plain.bound <= plain.price


def test_greedy_over_all_pairs_ignores_the_seed_and_few_candidates_do_not() -> None:
    chips, cost = fleet("uniform", 40, SIDE), table_cost("concave", SIDE)
    assert Greedy()(chips, cost, 0) == Greedy()(chips, cost, 1)
    assert Greedy(k=2)(chips, cost, 0) != Greedy(k=2)(chips, cost, 1)
