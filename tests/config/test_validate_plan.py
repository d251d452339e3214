"""What the number of chips alone forbids, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest

from efat import FaultMap
from efat.config.validate_plan import plan_problems
from efat.hardware.chip import Chip, Fleet
from efat.planning import Fixed, Individual, Single
from efat.planning.planners.exact import Exact
from efat.planning.planners.min_cost import MinCost
from efat.planning.rules import Rules


def fleet(chips: int, lost: int = 0) -> Fleet:
    """Chips of 0 % and 100 % faulty PEs."""
    maps = [FaultMap(np.full((2, 2), i < lost)) for i in range(chips)]
    return Fleet(tuple(Chip(f"c{i:02d}", m) for i, m in enumerate(maps)))


def problems(chips, planner, rules=None, highest_rate=0.5, counted=True):
    return plan_problems(chips, planner, rules or Rules(), highest_rate, counted)


@pytest.mark.parametrize(("counted", "most"), [(True, 20), (False, 11)])
def test_exact_has_a_size(counted: bool, most: int) -> None:
    assert problems(fleet(most), Exact(), counted=counted) == []
    (problem,) = problems(fleet(most + 1), Exact(), counted=counted)
    assert f"exact was given {most + 1} chips that may be grouped; at most {most}" in problem
    assert problems(fleet(most + 1), Exact(), Rules(alone=["c00"]), counted=counted) == []
    assert problems(fleet(most + 3, lost=3), Exact(), counted=counted) == []
    assert problems(fleet(most + 3, lost=3), Exact(), highest_rate=1.0, counted=counted) != []
    assert problems(fleet(99), MinCost(), counted=counted) == []


@pytest.mark.parametrize(
    ("planner", "rules", "least"),
    [
        (MinCost(), Rules(max_groups=3, max_members=3), 4),
        (MinCost(), Rules(max_groups=4, max_members=3, alone=["c00", "c01"]), 5),
        (Individual(), Rules(max_groups=9), 10),
        (Fixed(), Rules(max_groups=1), 10),
    ],
)
def test_room(planner, rules: Rules, least: int) -> None:
    (problem,) = problems(fleet(10), planner, rules)
    assert problem.startswith(f"rules.max_groups: {rules.max_groups} given; ")
    assert f"at least {least}; raise it" in problem
    roomy = Rules(max_groups=least, max_members=rules.max_members, alone=rules.alone)
    assert problems(fleet(10), planner, roomy) == []


def test_one_group_of_all_must_be_allowed() -> None:
    (problem,) = problems(fleet(5), Single(), Rules(max_members=4))
    assert problem == ("rules.max_members: 4 given; single makes a group of 5; use another planner")
    assert problems(fleet(5), Single(), Rules(max_members=5)) == []
    assert problems(fleet(5, lost=5), Individual(), Rules(max_groups=1)) == []


def test_names_that_must_stay_alone_are_of_the_fleet() -> None:
    (problem,) = problems(fleet(2), MinCost(), Rules(alone=["c00", "nobody"]))
    assert problem == "rules.alone: 'nobody' given; no chip of the fleet has that name"
