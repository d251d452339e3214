"""`compare=[no_remap]`: what is reached on hardware that cannot remap."""

from types import SimpleNamespace

import pytest

from efat.errors import EfatError
from efat.overrides import compose_jobs
from efat.pages.treatment import repair_sentences
from efat.planning.early_stop import EarlyStopping, NoRemap
from efat.preflight import build_experiment
from efat.recipe import Recipe
from efat.resilience import ResilienceMap
from efat.stages import plan as plan_fleet
from efat.stages import retrain
from tests.test_stages import BASELINE, FakeCampaign, experiment

MAP = ResilienceMap(0.6, (0.1, 1.0), (20.0, 20.0))
REMAPPED = Recipe(("remap", "compensate"))


class Repairing(FakeCampaign):
    """Every repaired network meets the constraint at once."""

    def trained(self, job):
        return {"amount_steps": [0], "metric": [0.9], "elapsed_s": 1.0, "diverged_steps": None}


def jobs_of(here):
    """Return what is asked of a campaign, by strategy."""
    plans, campaign = plan_fleet(here, MAP), Repairing()
    retrain(here, campaign, BASELINE, plans)
    jobs = iter(campaign.asked[0][2])
    return {name: [next(jobs) for _ in plan.groups] for name, plan in plans.items()}


def test_it_repairs_each_chip_as_the_recipe_no_remap_does():
    compared = {"early_stop": EarlyStopping(), "no_remap": NoRemap()}
    found = jobs_of(experiment(recipe=REMAPPED, compare=compared))
    alone = jobs_of(experiment(recipe=Recipe(("compensate",)), compare=compared))
    assert len(found["no_remap"]) == 4
    assert found["no_remap"] == alone["early_stop"]  # the same units of a store
    assert {job.repair.steps for job in found["early_stop"]} == {("remap", "compensate")}
    assert {job.repair.steps for job in found["greedy"]} == {("remap", "compensate")}


@pytest.mark.parametrize("steps", ["[retrain]", "[compensate,retrain]", "[remap]"])
def test_a_recipe_with_nothing_to_leave_out_is_refused(steps):
    said = ["recipe.steps=" + steps, "compare=[none,no_remap]"]
    (cfg,) = compose_jobs(["+experiment=resnet_fat_best", *said])
    with pytest.raises(EfatError, match=r"^compare: no_remap given, but recipe.steps=") as bad:
        build_experiment(cfg)
    assert len(bad.value.problems) == 1
    assert "use compare=[none], or recipe=remap_compensate" in str(bad.value)


def test_the_recommended_recipe_is_compared_with_it():
    (cfg,) = compose_jobs(["+experiment=resnet_fat_best"])
    assert build_experiment(cfg).compare["no_remap"] == NoRemap()


@pytest.mark.parametrize("compared", [[], ["no_remap"]])
def test_the_report_says_where_to_look(compared):
    summary = {
        "recipe": ["remap", "compensate"], "calibration_s": 1.0, "analysis_repair_s": 1.0,
        "strategies": [{"name": name} for name in ["best", *compared]],
    }  # fmt: skip
    told = " ".join(
        repair_sentences(SimpleNamespace(summary=summary, chosen={"repair_s": 1.0}, analysed=True))
    )
    assert ("see strategy no_remap." in told) == bool(compared)
    assert ("compare=[no_remap] counts" in told) == (not compared)
