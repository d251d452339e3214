"""`recipe.mode=auto`: sequential compensation where it is better, the cheap one elsewhere."""

from dataclasses import replace

import pytest

from efat.findings import Calibration
from efat.recipe import SEQUENTIAL_FROM, Recipe
from efat.trainings import retraining_job
from tests.test_stages import BASELINE, experiment, fault_map

STEPS = ("remap", "compensate", "retrain")
CALIBRATED = replace(BASELINE, calibration=Calibration(("calibrate", "grams"), 200, 1.0))
FEW, MANY = fault_map(0), fault_map(*range(8))


def job(mode, faults, steps=STEPS):
    return retraining_job(experiment(recipe=Recipe(steps, mode)), CALIBRATED, faults, 20)


def test_the_maps_are_on_both_sides():
    assert FEW.fault_rate < SEQUENTIAL_FROM <= MANY.fault_rate


@pytest.mark.parametrize("steps", [STEPS, ("compensate",), ("remap", "recalibrate")])
def test_it_is_the_mode_that_suits_the_map_and_shares_its_units(steps):
    assert job("auto", FEW, steps) == job("one_shot", FEW, steps)
    assert job("auto", MANY, steps) == job("sequential", MANY, steps)


def test_a_map_at_the_border_is_sequential():
    recipe = Recipe(("compensate",), "auto")
    assert recipe.settled(SEQUENTIAL_FROM).mode == "sequential"
    assert recipe.settled(SEQUENTIAL_FROM - 1e-9).mode == "one_shot"


def test_both_are_prepared_for():
    recipe = Recipe(("compensate",), "auto")
    assert (recipe.needs_grams, recipe.needs_samples) == (True, True)
