"""Composing an experiment from Python, and the list of stages."""

import subprocess
import sys

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from efat import EfatError
from efat.campaign import STAGES
from efat.campaign.walk import SINGLE
from efat.config import compose_experiment
from efat.config.schema import CAMPAIGN_STAGES, CONF


def test_an_experiment_by_name_and_overrides():
    first, second = (compose_experiment("resnet_fat", "model=mlp", f"seed={s}") for s in (0, 1))
    assert (first.name, first.seed, second.seed, len(first.fleet)) == ("resnet_fat", 0, 1, 40)
    assert "greedy" in first.compare
    assert compose_experiment(None, "model=mlp").name == "efat"


def test_all_problems_are_raised_at_once():
    with pytest.raises(EfatError) as caught:
        compose_experiment("resnet_fat", "array.rows=0", "fleet.chps=3", "planner=nosuch")
    keys = {problem.split(":")[0] for problem in caught.value.problems}
    assert keys == {"array.rows", "fleet.chps", "planner"}
    with pytest.raises(EfatError, match="experiment: nosuch given; allowed: "):
        compose_experiment("nosuch")
    with pytest.raises(EfatError, match="overrides: '-m' given"):
        compose_experiment("resnet_fat", "-m", "seed=0,1")
    with pytest.raises(EfatError, match="seed: 0,1 given"):
        compose_experiment("resnet_fat", "seed=0,1")


def test_a_hydra_that_runs_is_left_as_it_was():
    assert not GlobalHydra.instance().is_initialized()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        compose_experiment(None, "model=mlp")
        assert GlobalHydra.instance().hydra is running
        assert hydra.compose("config", ["seed=3"]).seed == 3
    compose_experiment(None, "model=mlp")
    assert not GlobalHydra.instance().is_initialized()


def test_efat_config_does_not_import_lightning():
    code = "import sys, efat.config; sys.exit('pytorch_lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_stages_are_those_of_the_campaign():
    stages = (*STAGES, SINGLE)
    assert {stage.name: stage.description for stage in stages} == CAMPAIGN_STAGES
    assert [stage.name for stage in stages] == list(CAMPAIGN_STAGES)
