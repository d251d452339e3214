"""Recipes that are refused, and what a recipe changes of the planner's prices."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from efat import EfatError, FaultMap
from efat.config.build import build_experiment
from efat.config.compose import compose_jobs
from efat.config.validate_recipe import recipe_problems
from efat.hardware.chip import Chip
from efat.models.resnet import ResNet
from efat.planning.cost import CountCost
from efat.planning.planners.min_cost import MinCost
from efat.planning.rules import Rules
from efat.training.recipe import Recipe


def test_every_problem_of_a_recipe_is_named():
    with pytest.raises(EfatError) as error:
        Recipe(("retrain", "polish"), "both", 0, remap="rows")
    assert [problem.split(" given; ")[0] for problem in error.value.problems] == [
        "recipe.steps: 'polish'",
        "recipe.mode: 'both'",
        "recipe.samples: 0",
        "recipe.remap: 'rows'",
    ]
    for steps in (("retrain", "remap"), ("compensate", "remap"), ("remap", "remap")):
        with pytest.raises(
            EfatError, match="each step once, in this order: harden, remap, compensate"
        ):
            Recipe(steps)
    with pytest.raises(EfatError, match="at least one of"):
        Recipe(())


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 10)

    def forward(self, x):
        return self.last(self.attention(x, x, x)[0].transpose(0, 1)).mean(0)


def problems(recipe, network, shape=(2, 3, 8), dataflow="ws"):
    return recipe_problems(recipe, network, torch.zeros(shape), dataflow, ())


def test_what_a_network_or_array_does_not_allow_is_refused():
    resnet, images = ResNet(8, 10, 1, 4), (2, 1, 8, 8)
    both = Recipe(("remap", "compensate", "retrain"))
    assert problems(both, resnet, images) == []
    (found,) = problems(both, resnet, images, "os")
    assert found.startswith("recipe.steps: remap, compensate given, but array.dataflow=os")
    assert problems(Recipe(("recalibrate",)), resnet, images, "os") == []
    rescaled = Recipe(("recalibrate",))
    assert problems(rescaled, nn.Linear(8, 2)) == []
    (found,) = problems(rescaled, nn.Linear(8, 2), dataflow="os")
    assert found.startswith("recipe.steps: recalibrate given, but array.dataflow=os")
    attention, _ = problems(rescaled, Attentive())
    assert "recalibrate given without BatchNorm, but layer 'attention' is an attention" in attention
    assert problems(both, Attentive()) == []
    found = problems(Recipe(("compensate",), "auto"), Attentive())
    assert [text.split(",")[0] for text in found] == ["recipe.mode: auto given"] * 2
    attention, turned = problems(Recipe(("compensate",), "sequential"), Attentive())
    assert "layer 'attention' is an attention; use steps=[compensate], mode=one_shot" in attention
    assert "layer 'last' sees 3 rows for 2 samples: not batch first" in turned
    tied = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    tied[1].weight = tied[0].weight
    (found,) = problems(both, tied)
    assert "are one weight; untie them" in found


def test_a_recipe_without_retraining_has_no_budget():
    (cfg,) = compose_jobs(["model=mlp", "fleet.chips=3", "recipe.steps=[compensate]"])
    assert build_experiment(cfg).amounts.budget_steps == 0


def test_where_retraining_costs_nothing_a_model_does():
    maps = [np.zeros((4, 8), bool) for _ in range(12)]
    for place, grid in enumerate(maps):
        grid.flat[2 * place : 2 * place + 2] = True
    chips = [Chip(f"c{i:02d}", FaultMap(grid)) for i, grid in enumerate(maps)]
    cost = CountCost.of(lambda rate: 0.0 if rate <= 0.25 else math.inf, 4, 8)
    free, priced = (MinCost(rules=Rules(price_group=p))(chips, cost, 0) for p in (0.0, 1.0))
    assert (len(free.groups), free.total_steps) == (12, 0)
    assert [len(g.members) for g in priced.groups] == [4, 4, 4]  # 8 faults of 32 are a quarter
    assert (priced.total_steps, priced.price, priced.gap) == (0, 3, pytest.approx(0))
