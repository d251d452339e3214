"""`planner=early_stop`: each chip until it meets the constraint; no analysis without need."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from efat.campaign.results import TrainedModel
from efat.campaign.run_result import RunResult
from efat.hardware.chip import Chip, Fleet
from efat.hardware.fleets import load_fleet, save_fleet
from efat.planning import EarlyStopping
from efat.reporting.html.comparison import compare_runs
from efat.reporting.html.comparison_page import compare_figures, without_map
from efat.reporting.sentences import headline, summary
from efat.reporting.terminal.stages import describe_until_met
from efat.reporting.tracking import wandb_results
from tests.campaign.by_hand import experiment, group
from tests.campaign.homes import EARLY_STOP, Home
from tests.cli.command_line import efat, errors, rows
from tests.reporting.html_pages import Page, unpack
from tests.reporting.run_folders import finished


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("early_stop"))


@pytest.fixture(scope="module")
def alone(home):
    ran, folder = home.run("compare=[none]")
    assert ran.returncode == 0, ran.stderr
    assert not (home.path / "outputs/store/analyse").exists()
    home.status = efat(home.path, *EARLY_STOP, "compare=[none]", "stage=status").stdout
    return ran, folder


@pytest.fixture(scope="module")
def beside(home, alone):
    """Compared with a strategy that needs the map."""
    ran, folder = home.run("compare=[greedy]", "recipe.steps=[retrain,top_up]")
    assert ran.returncode == 0, ran.stderr
    return ran, folder


@pytest.fixture
def run(alone):
    return RunResult.load(alone[1])


def test_nothing_is_analysed_and_every_chip_has_a_model(alone, run):
    assert {row["stage"] for row in run.units} == {"pretrain", "retrain", "evaluate"}
    assert len(list((run.folder / "models").iterdir())) == 4
    chosen, steps = run.chosen, [chip.trained_steps for chip in run.chips]
    assert (chosen.name, chosen.models, chosen.needs_analysis) == ("early_stop", 4, False)
    assert run.outcome.analysis is None
    assert 0 == steps[0] < max(steps)
    assert chosen.retraining.steps == sum(steps)
    failing = [chip.chip_id for chip in run.chips if not chip.pass_val]
    assert failing
    assert chosen.pass_val == 4 - len(failing)
    assert run.budget_epochs == pytest.approx(24 / 33)


def test_no_file_or_figure_of_an_analysis_is_left(alone, run):
    ran, folder = alone
    names = {path.name for path in folder.iterdir()}
    assert not {"resilience_map.json", "curves.csv"} & names
    assert {"library.json", "report.html", "fused_maps.npz", "plan.json"} <= names
    assert "resilience_map.json" not in ran.stdout
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"fleet", "strategies"}
    assert (run.until_met, run.plan.gap, run.plan.price) == (True, None, None)
    assert {row.alone_steps for row in run.groups} == {None}


def test_the_report_has_no_section_of_what_was_not_done(alone):
    _, folder = alone
    text = (folder / "report.html").read_text()
    shown = {i for i in Page(text).ids if i.startswith("figure-")}
    assert shown == {"figure-cost", "figure-chips", "figure-layers"}
    data = json.loads(unpack(text, "data"))
    assert {f"figure-{name}" for name in data["figures"]} == shown
    assert "epochs planned" not in {heading for _, heading, _ in data["columns"]}
    assert len(data["figures"]["cost"]["data"]) == 1  # retraining alone
    report = (folder / "report.md").read_text()
    for words in ("incl. analysis", "optimality gap", "unsalvageable", "(figures/resilience_map"):
        assert words not in report
    assert "1 of 4 met the constraint at once, 3 were trained, each until it did or " in report


def test_a_report_can_be_written_again_and_damage_is_named(alone, tmp_path):
    _, folder = alone
    ran = efat(tmp_path, "stage=report", f"runs=[{folder}]")
    assert (ran.returncode, ran.stderr) == (0, "")
    other = finished(tmp_path / "analysed")
    (other / "curves.csv").unlink()
    (problem,) = errors(efat(tmp_path, "stage=report", f"runs=[{other}]"))
    assert "no curves.csv in it" in problem  # it had an analysis


def test_runs_without_a_map_compare_with_others(run, tmp_path):
    both = compare_runs([run, RunResult.load(finished(tmp_path))])
    assert len(compare_figures(both)["map"]["data"]) == 1
    assert without_map(both) == [both.names[0]]
    assert both.rows[0]["epochs"] == both.rows[0]["epochs_incl_analysis"]
    assert "map" not in compare_figures(compare_runs([run, run]))


def test_a_compared_strategy_gets_the_analysis_that_it_needs(beside):
    _, folder = beside
    run = RunResult.load(folder)
    assert "analyse" in {row["stage"] for row in run.units}
    early, greedy = run.strategies
    assert (early.needs_analysis, greedy.needs_analysis) == (False, True)
    epochs = run.outcome.analysis.epochs
    assert [run.outcome.once_epochs(s) for s in run.strategies] == [0, epochs]
    assert run.spent_epochs == early.retraining.epochs
    assert f"took {epochs:.1f} epochs, which early_stop does not use" in " ".join(summary(run))
    shown = {i for i in Page((folder / "report.html").read_text()).ids if i.startswith("figure-")}
    assert {"figure-map", "figure-curves"} <= shown
    assert "figure-groups" not in shown


def test_topping_up_is_what_it_does_anyway(alone, beside):
    """The same trainings: both train a chip until it meets the constraint."""
    apart, topped = ([row["trained_steps"] for row in rows(run[1] / "groups.csv")]
                     for run in (alone, beside))  # fmt: skip
    assert apart == topped
    found = [row for row in rows(beside[1] / "units.csv") if row["state"] == "found"]
    assert sum(row["stage"] == "retrain" for row in found) >= 4


def test_the_answer_is_no_where_no_chip_meets_the_constraint(home, alone):
    hard = ("fleet.chips=1", "fleet.fault_rate=0.9", "training.budget_epochs=0.25")
    ran, folder = home.run(*hard, "stage=retrain")
    assert ran.returncode == 1
    assert "fail at the end of the budget: chip0" in " ".join(ran.stdout.split())
    assert (folder / "models/group000.safetensors").exists()


def test_status_and_the_stages_that_need_the_map(home, alone, beside, tmp_path):
    left = {cells[0]: cells[1:4] for cells in map(str.split, home.status.splitlines()) if cells}
    assert left["retrain"] == ["4", "0", "0"]
    assert "analyse" not in left
    assert "analyse" in efat(home.path, *EARLY_STOP, "compare=[greedy]", "stage=status").stdout
    _, folder = home.run("compare=[none]", "stage=analyse")
    assert (folder / "resilience_map.json").exists()
    first, *_ = load_fleet(alone[1] / "fleet.npz").chips
    save_fleet(Fleet((Chip("new", first.fault_map),)), tmp_path / "new.npz")
    arguments = [a for a in EARLY_STOP if not a.startswith("fleet.")]
    file = ("fleet=file", f"fleet.path={tmp_path}/new.npz")
    ran = efat(home.path, *arguments, *file, "stage=assign", f"library={alone[1]}")
    assert ran.returncode == 0, ran.stderr
    assert "1 covered" in ran.stdout


def test_chips_whose_training_diverged_are_told_from_those_that_fail_within_the_budget(run):
    names = [row.group for row in run.groups]
    kept = {"trained_steps": 0, "pass_val": False, "pass_test": False}
    chips = tuple(replace(c, **kept) if c.group in names[2:] else c for c in run.chips)
    chosen = replace(run.chosen, kept_groups=tuple(names[2:]), failing_groups=())
    outcome = replace(run.outcome, chips=chips, strategies=(chosen,))
    text = " ".join(summary(replace(run, outcome=outcome)))
    diverged = ", ".join(row.members for row in run.groups[2:])
    assert f"Training diverged for {diverged}: the network from before retraining is kept" in text
    assert "a lower training.optimizer.lr (chips whose training diverged: 2)" in text
    for words in ("Fail at the end", "planned amount", "None fails", "at its end"):
        assert words not in text


def test_where_two_evaluations_have_to_meet_it_none_is_met_at_once(run):
    settings = replace(run.settings, sustained=2)
    text = " ".join(summary(replace(run, settings=settings)))
    assert "3 were trained, each until it met the constraint 2 evaluations in a row or" in text
    assert "constraint at once" not in text
    here = experiment(planner=EarlyStopping(), compare={})
    here = replace(here, selection=replace(here.selection, sustained=2))
    model = TrainedModel(group("a", amount=0), 20, ("retrain", "a"), 1.0, met=True)
    assert describe_until_met(here, [model]) == "retrain    1 were trained, 2.0 epochs together"


def test_models_are_not_called_retrainings_where_some_were_not_trained(run):
    epochs = run.chosen.retraining.epochs
    assert f", for 4 models and {epochs:.1f} epochs of retraining." in headline(run)
    untrained = replace(run.chosen, retraining=replace(run.chosen.retraining, epochs=0.0))
    outcome = replace(run.outcome, strategies=(untrained,))
    assert ", for 4 models and no retraining." in headline(replace(run, outcome=outcome))


def test_equal_fault_maps_are_one_result(run):
    assert "a model of its own: these are 4 independent results" in " ".join(summary(run))
    first, second, *rest = run.maps
    twins = (first, replace(second, fault_map=first.fault_map), *rest)
    text = " ".join(summary(replace(run, maps=twins)))
    assert "its own, the same where fault maps are: these are 3 independent results" in text


def test_a_plan_until_the_constraint_is_met_is_no_library(home, alone):
    _, folder = home.run("compare=[none]", "stage=plan")
    assert (folder / "plan.json").exists()
    assert not (folder / "library.json").exists()
    (problem,) = errors(efat(home.path, *EARLY_STOP, "stage=assign", f"library={folder}"))
    assert "no library.json in it; name the folder of a run that" in problem


def test_a_limit_on_models_is_refused(home):
    (problem,) = errors(efat(home.path, *EARLY_STOP, "rules.max_groups=3", "stage=plan"))
    assert problem.startswith("rules.max_groups: 3 given; early_stop puts 4 chips in groups of ")


def test_the_lineage_leaves_out_what_was_not_made(alone, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_results, "_artifact", lambda run, scene, kind, names: kind)
    monkeypatch.setattr(wandb_results, "_use", lambda live, artifact: live.seen.append(artifact))

    class Live:
        def __init__(self, stage):
            self.seen = [stage]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            logged.append(self.seen)

        def log_artifact(self, artifact):
            self.seen.append(artifact)

    for folder, expected in (
        (alone[1], [["fleet", "chips"], ["plan", "chips", "plan"], ["retrain", "plan", "models"]]),
        (finished(tmp_path), None),
    ):
        logged = []
        wandb_results.log_lineage(
            lambda _, __, stage: Live(stage), RunResult.load(folder), SimpleNamespace(group="g")
        )
        assert logged == expected or (expected is None and len(logged) == 5)
