"""`recipe.mode=auto`: sequential compensation where it is better, the cheap one elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from efat import SystolicArray
from efat.campaign.job_factory import retraining_job
from efat.campaign.results import MeasuredGrams
from efat.hardware.fleets import draw_fault_map
from efat.reporting.recipe_sentences import repair_sentences
from efat.training.recipe import SEQUENTIAL_FROM, Recipe
from tests.campaign.by_hand import BASELINE, experiment, fault_map
from tests.reporting.run_folders import result

STEPS = ("remap", "compensate", "retrain")
CALIBRATED = replace(BASELINE, grams=MeasuredGrams(("measure_grams", "grams"), 200, 1.0))
FEW, MANY = fault_map(0), fault_map(*range(8))


def job(mode, faults, steps=STEPS):
    return retraining_job(experiment(recipe=Recipe(steps, mode)), CALIBRATED, faults, 20)


def test_the_maps_are_on_both_sides():
    assert FEW.fault_rate < SEQUENTIAL_FROM <= MANY.fault_rate


@pytest.mark.parametrize("steps", [STEPS, ("compensate",)])
def test_it_is_the_mode_that_suits_the_map_and_shares_its_units(steps):
    assert job("auto", FEW, steps) == job("one_shot", FEW, steps)
    assert job("auto", MANY, steps) == job("sequential", MANY, steps)


@pytest.mark.parametrize("size", [8, 10, 16, 32, 64, 128, 256])
def test_a_map_drawn_at_the_border_is_sequential_on_every_array(size):
    array, recipe = SystolicArray(size, size), Recipe(("compensate",), "auto")
    drawn = draw_fault_map(array, SEQUENTIAL_FROM, np.random.default_rng(0))
    assert recipe.settled(drawn.fault_rate).mode == "sequential"
    fewer = draw_fault_map(array, SEQUENTIAL_FROM - 0.03, np.random.default_rng(0))
    assert recipe.settled(fewer.fault_rate).mode == "one_shot"


@pytest.mark.parametrize("faults", [FEW, MANY])
def test_without_compensation_there_is_nothing_to_choose(faults):
    steps = ("remap", "recalibrate")
    assert job("auto", faults, steps) == job("one_shot", faults, steps)


def test_both_are_prepared_for():
    recipe = Recipe(("compensate",), "auto")
    assert (recipe.needs_grams, recipe.needs_samples) == (True, True)


def test_the_report_names_the_mode():
    run = result()
    outcome = replace(run.outcome, recipe=("compensate", "retrain"), mode="auto")
    first, *_ = repair_sentences(replace(run, outcome=outcome))
    assert first.startswith("Recipe: compensate (auto), retrain.")
