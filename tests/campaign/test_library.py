"""A library of models: what new chips make of it, and that nothing of it is ever lost."""

import json
from dataclasses import replace

import pytest
import torch

from efat import EfatError
from efat.campaign import Analysis, State, assignment
from efat.campaign.library import grow_library, identity, library_from_plan
from efat.campaign.library_io import read_library, write_library
from efat.campaign.results import TrainedModel
from efat.engine.store import Result, Store
from efat.hardware.chip import Chip, Fleet
from efat.hardware.fleets import save_fleet
from efat.planning.plan import Plan
from efat.planning.rules import Rules
from efat.reporting.terminal.assignment import describe_growth
from efat.resilience.constraint import Constraint
from efat.resilience.resilience_map import ResilienceMap
from efat.resilience.severity import array_rate
from efat.training import Factory
from tests.campaign.by_hand import BASELINE, CHIPS, FakeRunner, experiment, fault_map, group

GROUPS = (group("a", "b"), group("c"))
PLAN = Plan(GROUPS, ("d",))
ONE_STEP_A_FAULT = ResilienceMap(0.6, (0.5,), (8.0,))  # 16 PEs; beyond 8 faults there is no repair


def plan_library(folder, finished=True):
    """Write the library of PLAN into `folder`, weights of the models in a store beside it."""
    store, models = Store(folder / "store"), []
    for index, each in enumerate(GROUPS):
        key = f"key{index}"
        store.write("retrain", key, Result({}, {}))
        models.append(TrainedModel(each, 20, ("retrain", key), 1.0))
    save_fleet(Fleet(CHIPS), folder / "fleet.npz")
    fused = tuple(Chip(f"group{i:03d}", g.fused) for i, g in enumerate(GROUPS))
    save_fleet(Fleet(fused), folder / "fused_maps.npz")
    library = library_from_plan(experiment(), PLAN, models if finished else ())
    write_library(folder, library, None, store)
    return library, store


def arrive(library, *chips, rules=None):
    analysis = Analysis((), 0.0, 0.0, ONE_STEP_A_FAULT)
    here = experiment(fleet=Fleet(chips), rules=rules or Rules())
    state = State(here, baseline=BASELINE, severity=array_rate, analysis=analysis)
    return state, assignment.place(state, library)


def grown(library, *chips, rules=None):
    here, arrival = arrive(library, *chips, rules=rules)
    trained = {g.fused.key: (g.amount_steps, ("retrain", "key1")) for g in arrival.plan.groups}
    return grow_library(library, arrival.assignment, here.experiment.fleet.chips, trained)


COVERED = Chip("new", fault_map(0, 4))
OTHER = Chip("other", fault_map(9, 10, 11))


@pytest.mark.parametrize("finished", [True, False])
def test_what_is_written_is_read(tmp_path, finished):
    library, _ = plan_library(tmp_path, finished)
    assert read_library(tmp_path) == library
    assert [entry.model.finished for entry in library.entries] == [finished] * 2
    assert (tmp_path / "models/group001.safetensors").exists() == finished


def test_a_library_grows_on_disk_and_keeps_every_file(tmp_path):
    library, store = plan_library(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    after = grown(library, COVERED, OTHER)
    write_library(tmp_path, after, library, store)
    assert read_library(tmp_path) == after
    changed = {p.name for p, content in before.items() if p.read_bytes() != content}
    assert changed == {"library.json"}
    assert [entry.model.members for entry in after.entries] == [
        ("a", "b", "new"),
        ("c",),
        ("other",),
    ]
    assert (tmp_path / "models/group002.safetensors").exists()
    assert [chip.chip_id for chip in after.chips] == ["a", "b", "c", "d", "new", "other"]


def test_the_same_chips_again_change_nothing_and_it_is_said(tmp_path):
    library, _ = plan_library(tmp_path)
    after = grown(library, COVERED, OTHER)
    _, arrival = arrive(after, COVERED, OTHER)
    assert arrival.plan.groups == ()
    assert [p.how for p in arrival.assignment.placements] == ["covered", "covered"]
    again = grown(after, COVERED, OTHER)
    assert again == after
    assert "unchanged, every chip was there already" in describe_growth(tmp_path, after, again)
    assert "2 new chips, 1 new model;" in describe_growth(tmp_path, library, after)


def test_an_extended_model_keeps_its_old_checkpoint(tmp_path):
    library, store = plan_library(tmp_path)
    old = (tmp_path / "models/group001.safetensors").read_bytes()
    store.write("retrain", "key2", Result({"x": 1}, {"w": torch.zeros(1)}))
    wider = Chip("wider", fault_map(0, 1, 2, 9))
    here, arrival = arrive(library, wider, rules=Rules(max_groups=2))
    assert [(p.how, p.model) for p in arrival.assignment.placements] == [("extended", "group001")]
    trained = {g.fused.key: (g.amount_steps, ("retrain", "key2")) for g in arrival.plan.groups}
    after = grow_library(library, arrival.assignment, here.experiment.fleet.chips, trained)
    write_library(tmp_path, after, library, store)
    entry = read_library(tmp_path).entries[1]
    assert entry.earlier == (("retrain", "key1"),)
    assert entry.checkpoint == "models/group001-2.safetensors"
    assert (tmp_path / "models/group001.safetensors").read_bytes() == old
    assert (tmp_path / entry.checkpoint).read_bytes() != old
    assert entry.model.members == ("c", "wider")


def test_unsalvageable_chips_stay_in_the_library_by_name():
    library = library_from_plan(experiment(), PLAN, ())
    lost = Chip("lost", fault_map(*range(9)))
    here, arrival = arrive(library, lost, COVERED)
    assert arrival.plan.unsalvageable == ("lost",)
    trained = {g.fused.key: (1.0, ("retrain", "x")) for g in arrival.plan.groups}
    after = grow_library(library, arrival.assignment, here.experiment.fleet.chips, trained)
    assert after.unsalvageable == ("d", "lost")
    assert {chip.chip_id for chip in after.chips} >= {"d", "lost", "new"}


def test_a_library_that_another_run_changed_is_left_alone(tmp_path):
    library, store = plan_library(tmp_path)
    write_library(tmp_path, grown(library, COVERED), library, store)
    with pytest.raises(EfatError, match="was changed by another run meanwhile"):
        write_library(tmp_path, grown(library, OTHER), library, store)
    assert read_library(tmp_path).entries[0].model.members == ("a", "b", "new")


def test_damaged_and_missing_libraries_are_named(tmp_path):
    plan_library(tmp_path / "run1")
    with pytest.raises(EfatError, match=r"run2 given; no library.json in it; .*library=.*run1"):
        read_library(tmp_path / "run2")
    path = tmp_path / "run1/library.json"
    whole = path.read_text()
    for text in (whole[:-30], whole.replace(GROUPS[0].fused.key, "x"), "[]"):
        path.write_text(text)
        with pytest.raises(EfatError, match=r"library: .*library.json is damaged"):
            read_library(tmp_path / "run1")
    path.write_text(json.dumps({**json.loads(whole), "format": 9}))
    with pytest.raises(EfatError, match="is of format 9; 2 is needed"):
        read_library(tmp_path / "run1")


def test_identity_hangs_on_what_a_model_depends_on_and_on_nothing_else():
    here = experiment()
    setup = replace(here.retrain_setup, optimizer=Factory("torch.optim.Adam"))
    same = experiment(fleet=Fleet(CHIPS[:1]), fault_rates=(0.1,), name="other", rules=Rules(2))
    assert identity(same) == identity(here)
    selection = replace(here.selection, constraint=Constraint(max_drop=0.5))
    for change in ({"seed": 6}, {"retrain_setup": setup}, {"selection": selection}):
        assert identity(experiment(**change)) != identity(here)


def test_only_missing_models_are_trained_and_only_new_chips_measured():
    campaign = FakeRunner()
    models = [
        TrainedModel(g, 20, ("retrain", w), 1.0)
        for g, w in zip(GROUPS, ("one", "two"), strict=True)
    ]
    library = library_from_plan(experiment(), PLAN, models)
    here, arrival = arrive(library, COVERED, OTHER)
    campaign.trained = lambda job: {"elapsed_s": 2.0, "diverged_steps": None}
    after, trained = assignment.train(here, campaign, library, arrival)
    assert {n: m.group.members for n, m in trained.items()} == {"group002": (OTHER.chip_id,)}
    [(_, _, jobs)] = campaign.asked
    assert [(job.fault_map, job.amount_steps) for job in jobs] == [(OTHER.fault_map, 3)]
    campaign.evaluated = lambda job: {
        "val": [0.9] * len(job.fault_maps),
        "test_samples": 359,
        "test": [0.8] * len(job.fault_maps),
    }
    found = assignment.evaluate(here, campaign, after, arrival)
    asked = [(job.start, job.fault_maps) for job in campaign.asked[1][2]]
    assert asked == [
        (BASELINE.weights, (None, COVERED.fault_map, OTHER.fault_map)),
        (("retrain", "one"), (COVERED.fault_map,)),
        (("retrain", "key0"), (OTHER.fault_map,)),
    ]
    rows = assignment.arrival_rows(here, arrival, found)
    picked = [(r["chip_id"], r["action"], r["model"], r["price"], r["model_steps"]) for r in rows]
    assert picked == [("new", "covered", "group000", 0, 0), ("other", "alone", "group002", 3, 3)]
    assert [(r["pass_val"], r["pass_test"]) for r in rows] == [(True, True), (True, True)]


def test_models_known_to_be_short_are_handed_to_nobody(tmp_path):
    store = Store(tmp_path / "store")
    for key in ("one", "two", "x"):
        path = store.path("retrain", key, ".safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())
    for spoiled in ({"met": False}, {"diverged": True}):
        folder = tmp_path / next(iter(spoiled))
        save_fleet(experiment().fleet, folder / "fleet.npz")
        fused = (Chip(f"group{i}", g.fused) for i, g in enumerate(GROUPS))
        save_fleet(Fleet(tuple(fused)), folder / "fused_maps.npz")
        models = (
            TrainedModel(GROUPS[0], 40, ("retrain", "one"), 1.0, **spoiled),
            TrainedModel(GROUPS[1], 20, ("retrain", "two"), 1.0, met=True),
        )
        write_library(folder, library_from_plan(experiment(), PLAN, models), None, store)
        library = read_library(folder)
        assert library.left_out == ("group000",)
        assert [entry.model.name for entry in library.entries] == ["group001"]
        here, arrival = arrive(library, COVERED)
        assert [p.how for p in arrival.assignment.placements] == ["alone"]
        assert arrival.names == ("group001", "group002")  # group000 is a file of another model
        after = grow_library(library, arrival.assignment, here.experiment.fleet.chips,
                             {COVERED.fault_map.key: (2, ("retrain", "x"))})  # fmt: skip
        write_library(folder, after, library, store)
        again = read_library(folder)
        assert [entry.model.name for entry in again.entries] == ["group001", "group002"]
        assert again.name_at(2) == "group003"
        assert (folder / "models/group001.safetensors").read_bytes() == b"two"
        assert (folder / "models/group002.safetensors").read_bytes() == b"x"


def test_a_planned_model_that_a_chip_joins_is_trained_once_for_all():
    library = library_from_plan(experiment(), PLAN, ())
    _, arrival = arrive(library, Chip("new", fault_map(0, 1, 2, 9)))
    assert [p.how for p in arrival.assignment.placements] == ["joined"]
    assert sorted(g.members for g in arrival.plan.groups) == [("a", "b", "new"), ("c",)]
    assert arrival.plan.total_steps == 6 + 3
