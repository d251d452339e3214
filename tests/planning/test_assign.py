"""New chips against models that are there: covered ones for nothing, the library only grows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efat import EfatError, FaultMap
from efat.hardware.chip import Chip
from efat.planning.assign import LibraryModel, assign, plan_library
from efat.planning.planners.hierarchical import Hierarchical
from efat.planning.rules import Rules
from tests.planning.fleets import KINDS, fleet, table_cost


def chip(name: str, *faults: int, pes: int = 8) -> Chip:
    return Chip(name, FaultMap(np.isin(np.arange(pes), faults)[None]))


def per_fault(fault_map: FaultMap) -> float:
    return 10.0 * fault_map.fault_count if fault_map.fault_count <= 5 else math.inf


MODEL = LibraryModel("m", chip("m", 0, 1, 2).fault_map, ("m",))


def test_covered_chip_is_served_by_the_smallest_model_for_nothing() -> None:
    wide = LibraryModel("wide", chip("wide", 0, 1, 2, 3).fault_map, ("wide",))
    found = assign([chip("new", 0, 2)], [wide, MODEL], per_fault)
    assert [(p.model, p.how, p.price) for p in found.placements] == [("m", "covered", 0.0)]
    assert found.library[1].members == ("m", "new")
    assert found.library[1].finished


def test_a_planned_model_grows_where_that_adds_least() -> None:
    planned = LibraryModel("m", MODEL.fused, ("m",), finished=False)
    found = assign([chip("new", 1, 2, 5)], [planned], per_fault)
    assert [(p.model, p.how, p.price) for p in found.placements] == [("m", "joined", 10.0)]
    assert found.library[0].fused.fault_count == 4


def test_a_finished_model_is_trained_again_only_where_there_is_no_room() -> None:
    new = [chip("new", 1, 2, 5)]
    assert [p.how for p in assign(new, [MODEL], per_fault).placements] == ["alone"]
    found = assign(new, [MODEL], per_fault, Rules(max_groups=1))
    assert [(p.how, p.price) for p in found.placements] == [("extended", 40.0)]
    assert not found.library[0].finished
    with pytest.raises(EfatError, match=r"rules.max_groups: 1 given; chip 'far' fits no model"):
        assign([chip("far", 4, 5, 6)], [MODEL], per_fault, Rules(max_groups=1))


def test_chips_that_stay_alone_and_full_models_are_left_in_peace() -> None:
    new = [chip("new", 0, 2)]
    for rules in (Rules(alone=["m"]), Rules(alone=["new"]), Rules(max_members=1)):
        assert [p.how for p in assign(new, [MODEL], per_fault, rules).placements] == ["alone"]


def test_unsalvageable_chips_are_named_unless_covered() -> None:
    huge = LibraryModel("huge", chip("h", *range(7)).fault_map, ("h",))
    lost = chip("lost", *range(6))
    assert assign([lost], [], per_fault).unsalvageable == ("lost",)
    assert assign([lost], [huge], per_fault).placements[0].how == "covered"


def test_another_array_is_refused_by_name() -> None:
    other = LibraryModel("old", chip("old", 0, pes=9).fault_map, ("old",))
    with pytest.raises(EfatError, match="library: model 'old' is for an array of 1x9 PEs"):
        assign([chip("new", 0)], [other], per_fault)


def test_a_chip_that_came_back_worse_gets_a_name_of_its_own() -> None:
    found = assign([chip("m", 0, 1, 2, 3)], [MODEL], per_fault)
    assert [model.name for model in found.library] == ["m", "m#2"]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 100), st.booleans())
def test_library_only_grows_and_placing_again_changes_nothing(
    kind: str, seed: int, finished: bool
) -> None:
    chips, cost = fleet(kind, 24, 16, seed), table_cost("floored", 16)
    library = plan_library(Hierarchical()(chips[:10], cost, 0), finished)
    first = assign(chips[10:], library, cost)
    assert first == assign(chips[:9:-1], library, cost)
    maps = {c.chip_id: c.fault_map for c in chips}
    for old, new in zip(library, first.library, strict=False):
        assert new.name == old.name
        assert new.fused.covers(old.fused)
        assert set(old.members) <= set(new.members)
    by_name = {model.name: model for model in first.library}
    for placed in first.placements:
        assert by_name[placed.model].fused.covers(maps[placed.chip])
        assert placed.price <= cost(maps[placed.chip])
    named = {p.chip for p in first.placements} | set(first.unsalvageable)
    assert named == {c.chip_id for c in chips[10:]}
    again = assign(chips[10:], first.library, cost)
    assert again.library == first.library
    assert again.price == 0.0
