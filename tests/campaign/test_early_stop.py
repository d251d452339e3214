"""`planner=early_stop`: each chip until it meets the constraint; no analysis that nobody needs."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from efat.reporting.html.run_reader import read_run
from efat.reporting.html.summary_text import headline, sentences
from omegaconf import OmegaConf

from efat.campaign.results import TrainedModel
from efat.hardware.chip import Chip, Fleet
from efat.hardware.fleets import load_fleet, save_fleet
from efat.planning import EarlyStopping
from efat.reporting.html.comparison import compare_runs
from efat.reporting.html.comparison_page import compare_figures, without_map
from efat.reporting.terminal.stages import describe_until_met
from efat.reporting.tracking import wandb_results
from tests.campaign.by_hand import experiment, group
from tests.cli.command_line import efat, errors, rows
from tests.reporting.html_pages import Page, unpack
from tests.reporting.run_folders import finished

CAMPAIGN = (
    "+experiment=resnet_fat", "planner=early_stop", "executor=serial", "model.width=4",
    "baseline.epochs=4", "fault_rates.rates=[0.1]", "fault_rates.maps_per_rate=1",
    "training.budget_epochs=0.75", "training.eval_every_epochs=0.25", "fleet.chips=4",
    "fleet.fault_rate=[0.01,0.39]", "selection.max_drop=0.04",
)  # fmt: skip
"""The first chip meets the constraint as masked, the last one not within the budget."""


class Home:
    """A folder with a store that several commands share."""

    def __init__(self, path):
        self.path = path

    def run(self, *arguments):
        """Run the campaign; return what was printed, and its folder."""
        before = set(self.path.glob("outputs/*/*/config.yaml"))
        ran = efat(self.path, *CAMPAIGN, *arguments)
        new = set(self.path.glob("outputs/*/*/config.yaml")) - before
        return ran, new.pop().parent if new else None


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("early_stop"))


@pytest.fixture(scope="module")
def alone(home):
    ran, folder = home.run("compare=[none]")
    assert ran.returncode == 0, ran.stderr
    assert not (home.path / "outputs/store/analyse").exists()
    home.status = efat(home.path, *CAMPAIGN, "compare=[none]", "stage=status").stdout
    return ran, folder


@pytest.fixture(scope="module")
def beside(home, alone):
    """Compared with a strategy that needs the map."""
    ran, folder = home.run("compare=[greedy]", "recipe.steps=[retrain,top_up]")
    assert ran.returncode == 0, ran.stderr
    return ran, folder


def test_nothing_is_analysed_and_every_chip_has_a_model(alone):
    ran, folder = alone
    said = " ".join(ran.stdout.split())
    assert "analysis none: early_stop needs no resilience map plan early_stop: 4 chips, 4" in said
    assert "4 groups, each until it meets the constraint" in said
    assert {row["stage"] for row in rows(folder / "units.csv")} == {
        "pretrain", "retrain", "evaluate",
    }  # fmt: skip
    assert len(list((folder / "models").iterdir())) == 4
    chips = rows(folder / "chips.csv")
    steps = [int(chip["trained_steps"]) for chip in chips]
    summary = json.loads((folder / "summary.json").read_text())
    chosen, _ = summary["strategies"]
    assert (chosen["name"], chosen["models"], chosen["needs_analysis"]) == ("early_stop", 4, False)
    assert summary["analysis"] is None
    assert 0 == steps[0] < max(steps)
    assert chosen["retraining"]["steps"] == sum(steps)
    at_once = sum(step == 0 for step in steps)
    assert f"on validation {at_once} of 4 chips met the constraint as masked, " in said
    short = [c["chip_id"] for c in chips if c["met_val"] == "False"]
    assert short
    assert f"short at the end of the budget: {short[0]}" in said
    assert chosen["met_val"] == 4 - len(short)


def test_no_file_or_figure_of_an_analysis_is_left(alone):
    ran, folder = alone
    names = {path.name for path in folder.iterdir()}
    assert not {"resilience_map.json", "curves.csv"} & names
    assert {"library.json", "report.html", "fused_maps.npz", "plan.json"} <= names
    assert "resilience_map.json" not in ran.stdout
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"fleet", "strategies"}
    plan = json.loads((folder / "plan.json").read_text())
    assert (plan["until_met"], plan["gap"], plan["price"]) == (True, None, None)
    assert {row["alone_steps"] for row in rows(folder / "groups.csv")} == {""}


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
    for words in ("with analysis", "cheaper plan", "unsalvageable", "(figures/resilience_map"):
        assert words not in report
        assert words not in text.split('id="figure-chips"')[0]
    assert "No resilience analysis was run: no strategy here needs one." in report
    assert "1 of 4 met the constraint at once, 3 were trained on, each until it did or " in report
    assert "the budget was spent: 3 evaluation intervals of 0.24 epochs (8 steps)" in report
    short = [chip["chip_id"] for chip in rows(folder / "chips.csv") if chip["met_val"] == "False"]
    assert f"Short at the end: {', '.join(short)}." in report


def test_a_report_can_be_written_again_and_damage_is_named(alone, tmp_path):
    _, folder = alone
    assert read_run(folder).budget_epochs == pytest.approx(24 / 33)
    ran = efat(tmp_path, "stage=report", f"runs=[{folder}]")
    assert (ran.returncode, ran.stderr) == (0, "")
    other = finished(tmp_path / "analysed")
    (other / "curves.csv").unlink()
    (problem,) = errors(efat(tmp_path, "stage=report", f"runs=[{other}]"))
    assert "no curves.csv in it" in problem  # it had an analysis


def test_runs_without_a_map_compare_with_others(alone, tmp_path):
    mapless, mapped = read_run(alone[1]), read_run(finished(tmp_path))
    both = compare_runs([mapless, mapped])
    assert len(compare_figures(both)["map"]["data"]) == 1
    assert without_map(both) == [both.names[0]]
    assert both.rows[0]["epochs"] == both.rows[0]["epochs_with_analysis"]
    assert "map" not in compare_figures(compare_runs([mapless, mapless]))


def test_a_compared_strategy_gets_the_analysis_that_it_needs(beside):
    ran, folder = beside
    assert "analyse" in {row["stage"] for row in rows(folder / "units.csv")}
    assert (folder / "resilience_map.json").exists()
    early, greedy = json.loads((folder / "summary.json").read_text())["strategies"]
    assert (early["needs_analysis"], greedy["needs_analysis"]) == (False, True)
    (line,) = [c for c in map(str.split, ran.stdout.splitlines()) if c[:1] == ["early_stop"]]
    assert line[2] == line[3]  # epochs, without and with the analysis
    assert "beyond the plan: greedy" in ran.stdout
    run = read_run(folder)
    said = " ".join(sentences(run))
    epochs = run.summary["analysis"]["epochs"]
    assert f"greedy also takes the analysis, {epochs:.1f} epochs, which early_stop does not" in said
    assert f"The resilience analysis took {epochs:.1f} epochs, of which early_stop makes no" in said
    unserved = {**run.summary["strategies"][1], "models": 0}  # nobody is salvageable for it
    alone = replace(run, summary={**run.summary, "strategies": [early, unserved]})
    assert f"analysis took {epochs:.1f} epochs" in " ".join(sentences(alone))
    assert "in all, " not in said.replace("evaluations in all", "")
    assert run.spent_epochs == early["retraining"]["epochs"]
    shown = {i for i in Page((folder / "report.html").read_text()).ids if i.startswith("figure-")}
    assert {"figure-map", "figure-curves"} <= shown
    assert "figure-groups" not in shown


def test_topping_up_is_what_it_does_anyway(alone, beside):
    """The same trainings: both say that a chip goes on until it meets the constraint."""
    apart, topped = ([row["trained_steps"] for row in rows(run[1] / "groups.csv")]
                     for run in (alone, beside))  # fmt: skip
    assert apart == topped
    found = [row for row in rows(beside[1] / "units.csv") if row["state"] == "found"]
    assert sum(row["stage"] == "retrain" for row in found) >= 4


def test_the_answer_is_no_where_no_chip_meets_the_constraint(home, alone):
    hard = ("fleet.chips=1", "fleet.fault_rate=0.9", "training.budget_epochs=0.25")
    ran, folder = home.run(*hard, "stage=retrain")
    assert ran.returncode == 1
    assert "short at the end of the budget: chip0" in " ".join(ran.stdout.split())
    assert (folder / "models/group000.safetensors").exists()


def test_status_and_the_stages_that_need_the_map(home, alone, beside, tmp_path):
    left = {cells[0]: cells[1:4] for cells in map(str.split, home.status.splitlines()) if cells}
    assert left["retrain"] == ["4", "0", "0"]
    assert "analyse" not in left
    assert "analyse" in efat(home.path, *CAMPAIGN, "compare=[greedy]", "stage=status").stdout
    _, folder = home.run("compare=[none]", "stage=analyse")
    assert (folder / "resilience_map.json").exists()
    first, *_ = load_fleet(alone[1] / "fleet.npz").chips
    save_fleet(Fleet((Chip("new", first.fault_map),)), tmp_path / "new.npz")
    file = ("~fleet.chips", "~fleet.fault_rate", "fleet=file", f"fleet.path={tmp_path}/new.npz")
    arguments = [a for a in CAMPAIGN if not a.startswith("fleet.")]
    ran = efat(home.path, *arguments, *file[2:], "stage=assign", f"library={alone[1]}")
    assert ran.returncode == 0, ran.stderr
    assert "1 covered" in ran.stdout
    assert (folder / "resilience_map.json").exists()


def test_chips_whose_training_diverged_are_told_from_those_that_the_budget_left_short(alone):
    run = read_run(alone[1])
    names = [row["group"] for row in run.groups]
    kept = {"trained_steps": 0.0, "met_val": False, "met_test": False}
    chips = tuple({**row, **(kept if row["group"] in names[2:] else {})} for row in run.chips)
    chosen = {**run.chosen, "kept_groups": names[2:], "short_groups": []}
    found = replace(run, chips=chips, summary={**run.summary, "strategies": [chosen]})
    said = " ".join(sentences(found))
    diverged = ", ".join(row["members"] for row in run.groups[2:])
    assert "1 of 4 met the constraint at once, 3 were trained on, each until it did, its " in said
    assert f"Training diverged for {diverged}: the network from before retraining is kept" in said
    assert "a lower training.optimizer.lr (chips whose training diverged: 2)" in said
    for words in ("Short at the end", "planned amount", "None is short", "at its end"):
        assert words not in said


def test_where_two_evaluations_have_to_meet_it_none_is_met_at_once(alone):
    run = read_run(alone[1])
    cfg = OmegaConf.create(run.config)
    cfg.selection.sustained = 2
    said = " ".join(sentences(replace(run, config=OmegaConf.to_yaml(cfg))))
    assert "3 were trained on, each until it met the constraint 2 evaluations in a row or" in said
    assert "constraint at once" not in said
    here = experiment(planner=EarlyStopping(), compare={})
    here = replace(here, selection=replace(here.selection, sustained=2))
    model = TrainedModel(group("a", amount=0), 20, ("retrain", "a"), 1.0, met=True)
    assert describe_until_met(here, [model]) == "retrain    1 were trained, 2.0 epochs together"


@pytest.mark.parametrize(
    ("calibration_s", "analysis_s", "said"),
    [
        (0, 0, "for these chips; amounts"),
        (2, 0, "for these chips, and 2.0 s once a network (calibration); amounts"),
        (0, 1, "for these chips, and 1.0 s once a network (repair in the analysis); amounts"),
        (2, 1, "and 3.0 s once a network (calibration, and repair in the analysis); amounts"),
    ],
)
def test_what_was_done_once_a_network_is_named_only_where_it_was(
    alone, calibration_s, analysis_s, said
):
    run = read_run(alone[1])
    once = {"calibration_s": calibration_s, "analysis_repair_s": analysis_s}
    summary = {**run.summary, **once, "recipe": ["harden", "recalibrate"]}
    assert said in " ".join(sentences(replace(run, summary=summary)))


def test_models_are_not_called_retrainings_where_some_were_not_trained(alone):
    run = read_run(alone[1])
    epochs = run.chosen["retraining"]["epochs"]
    assert f", for 4 models and {epochs:.1f} epochs of retraining." in headline(run)
    untrained = {**run.chosen, "retraining": {**run.chosen["retraining"], "epochs": 0.0}}
    found = replace(run, summary={**run.summary, "strategies": [untrained]})
    assert ", for 4 models and no retraining." in headline(found)


def test_equal_fault_maps_are_one_result(alone):
    run = read_run(alone[1])
    assert "a model of its own: these are 4 independent results" in " ".join(sentences(run))
    first, second, *rest = run.maps
    twins = (first, replace(second, fault_map=first.fault_map), *rest)
    said = " ".join(sentences(replace(run, maps=twins)))
    assert "its own, the same where fault maps are: these are 3 independent results" in said


def test_a_plan_until_the_constraint_is_met_is_no_library(home, alone):
    _, folder = home.run("compare=[none]", "stage=plan")
    assert (folder / "plan.json").exists()
    assert not (folder / "library.json").exists()
    (problem,) = errors(efat(home.path, *CAMPAIGN, "stage=assign", f"library={folder}"))
    assert "no library.json in it; name the folder of a run that" in problem


def test_a_limit_on_models_is_refused(home):
    (problem,) = errors(efat(home.path, *CAMPAIGN, "rules.max_groups=3", "stage=plan"))
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
            lambda _, __, stage: Live(stage), read_run(folder), SimpleNamespace(group="g")
        )
        assert logged == expected or (expected is None and len(logged) == 5)
