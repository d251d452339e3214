"""`compare=[no_remap]`: what is reached on hardware that cannot remap."""

from dataclasses import replace

import pytest

from efat.campaign.results import MeasuredGrams
from efat.campaign.run_result import RunResult
from efat.campaign.stages import plan as plan_fleet
from efat.campaign.stages import retrain
from efat.config.build import build_experiment
from efat.config.compose import compose_jobs
from efat.errors import EfatError
from efat.planning import EarlyStopping, NoRemap
from efat.reporting.recipe_sentences import repair_sentences
from efat.reporting.sentences import summary
from efat.resilience.resilience_map import ResilienceMap
from efat.resilience.severity import array_rate
from efat.training.recipe import Recipe
from tests.campaign.by_hand import BASELINE, FakeRunner, experiment
from tests.campaign.homes import Home
from tests.reporting.run_folders import result

COMPARED = {"early_stop": EarlyStopping(), "no_remap": NoRemap()}
CALIBRATED = replace(BASELINE, grams=MeasuredGrams(("measure_grams", "grams"), 200, 1.0))
MAP = ResilienceMap(0.6, (0.1, 1.0), (20.0, 20.0))


class Repairing(FakeRunner):
    """Every repaired network meets the constraint at once."""

    def trained(self, job):
        return {"amount_steps": [0], "metric": [0.9], "elapsed_s": 1.0, "diverged_steps": None}


def jobs_of(here):
    """Return what is asked of a campaign, by strategy."""
    plans, campaign = plan_fleet(here, MAP, array_rate), Repairing()
    retrain(here, campaign, CALIBRATED, plans)
    jobs = iter(campaign.asked[0][2])
    return {name: [next(jobs) for _ in plan.groups] for name, plan in plans.items()}


@pytest.mark.parametrize(
    ("recipe", "without"),
    [
        (Recipe(("remap", "compensate")), Recipe(("compensate",))),
        (Recipe(("remap", "compensate"), remap="rows_and_columns"), Recipe(("compensate",))),
        (Recipe(("remap", "recalibrate")), Recipe(("recalibrate",))),
        (Recipe(("remap", "retrain")), Recipe()),
        (Recipe(("compensate", "retrain")), Recipe(("compensate", "retrain"))),
    ],
)
def test_it_is_early_stopping_by_the_recipe_without_remap(recipe, without):
    found = jobs_of(experiment(recipe=recipe, compare=COMPARED))
    alone = jobs_of(experiment(recipe=without, compare=COMPARED))
    assert len(found["no_remap"]) == 4
    assert found["no_remap"] == alone["early_stop"]  # the same units of a store
    assert {job.repair and job.repair.steps for job in found["early_stop"]} == {
        recipe.repairs or None
    }


def test_remapping_alone_leaves_masked_chips():
    here = experiment(recipe=Recipe(("remap",)), compare=COMPARED)
    here = replace(here, amounts=replace(here.amounts, budget_steps=0))
    for job in jobs_of(here)["no_remap"]:
        assert (job.repair, job.amount_steps) == (None, 0)


def test_a_campaign_is_of_its_recipe():
    words = ["planner=early_stop", "planner._target_=efat.planning.NoRemap"]
    (cfg,) = compose_jobs(["+experiment=resnet_fat_repair", *words])
    with pytest.raises(EfatError, match=r"^planner: no_remap given; it is to compare with"):
        build_experiment(cfg)


def test_the_recommended_recipe_is_compared_with_it():
    (cfg,) = compose_jobs(["+experiment=resnet_fat_repair"])
    assert build_experiment(cfg).compare["no_remap"] == NoRemap()


def compared_with(*names):
    run = result()
    chosen = replace(
        run.chosen, name="min_cost", retraining=replace(run.chosen.retraining, epochs=0.0)
    )
    strategies = (chosen, *(replace(chosen, name=name, label=name) for name in names))
    outcome = replace(run.outcome, strategies=strategies, recipe=("remap", "compensate"))
    return replace(run, outcome=outcome)


@pytest.mark.parametrize("compared", [(), ("no_remap",)])
def test_the_report_says_how_to_count_it(compared):
    text = " ".join(repair_sentences(compared_with(*compared)))
    assert ("compare=[no_remap] shows" in text) == (not compared)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("no_remap"))


def test_a_campaign_counts_it_beside_its_own(home):
    ran, folder = home.run("recipe.steps=[remap,compensate]", "compare=[none,no_remap]")
    assert ran.returncode == 0, ran.stderr
    assert "analysis none: early_stop needs no resilience map" in " ".join(ran.stdout.split())
    run = RunResult.load(folder)
    strategies = {s.name: s for s in run.strategies}
    less, same = strategies["no_remap"], strategies["early_stop"]
    assert (
        "Without remapping (no_remap: 4 models, one per chip, no retraining): "
        f"{less.pass_val} chips pass on validation, {less.pass_test} on test; "
        f"with it (repair: no retraining) {same.pass_val} and {same.pass_test}."
    ) in summary(run)
    alone, folder = home.run("recipe.steps=[compensate]", "compare=[none]")
    assert "retrain 0, evaluate 0" in alone.stdout  # the store has them
    expected = RunResult.load(folder).chosen
    for name in ("mean_test", "worst_test", "pass_val", "pass_test"):
        assert getattr(less, name) == getattr(expected, name)
    assert same.mean_test > expected.mean_test


@pytest.mark.parametrize("compared", [(), ("early_stop",)])
def test_remapping_is_compared_with_its_like_where_that_was_run(compared):
    (line,) = (
        text
        for text in summary(compared_with("no_remap", *compared))
        if text.startswith("Without remapping")
    )
    assert ("with it (early_stop: no retraining)" in line) == bool(compared)
