"""Which partner a planner chooses, and in which order: single sweeps worked out by hand."""

import numpy as np

from efat.hardware import FaultMap
from efat.hardware.chip import Chip
from efat.planning import Random
from efat.planning.cost import CountCost
from efat.planning.planners.greedy import Greedy

PES = 16
COST = CountCost(np.arange(PES + 1))  # one step a fault: a merge saves the faults in common


def chip(name, *faults):
    grid = np.zeros((1, PES), dtype=bool)
    grid[0, list(faults)] = True
    return Chip(name, FaultMap(grid))


def members(planner, chips, seed=0):
    return {group.members for group in planner(chips, COST, seed).groups}


def test_greedy_takes_the_best_partner_and_not_the_first_or_last_that_pays():
    chips = [
        chip("a", 0, 1, 2, 3, 4, 5),
        chip("b", 5, 6, 7, 8, 9),  # first in the order, saves 1
        chip("c", 0, 1, 2, 3),  # saves 4
        chip("d", 4, 10),  # last in the order, saves 1
    ]
    assert members(Greedy(max_sweeps=1), chips) == {("a", "c"), ("b",), ("d",)}


def test_greedy_lets_the_dearest_group_choose_first():
    dear, middle, cheap = (0, 1, 2, 3, 4, 5), (0, 1, 2, 6, 7), (6, 7, 8, 9)
    for names in ("abc", "cba"):  # names play no part
        chips = [chip(n, *f) for n, f in zip(names, (dear, middle, cheap), strict=True)]
        assert members(Greedy(max_sweeps=1), chips) == {tuple(sorted(names[:2])), (names[2],)}


def test_random_shuffles_the_chips_by_the_seed():
    chips = [chip(f"c{i}", i) for i in range(8)]
    in_order = {("c0", "c1"), ("c2", "c3"), ("c4", "c5"), ("c6", "c7")}
    drawn = [members(Random([2]), chips, seed) for seed in range(4)]
    assert drawn == [members(Random([2]), chips, seed) for seed in range(4)]
    assert in_order not in drawn
    assert len({frozenset(groups) for groups in drawn}) == 4
