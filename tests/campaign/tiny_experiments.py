"""An experiment of the command line, built but not run."""

from efat.config.build import build_experiment
from efat.config.compose import compose_jobs


def experiment(*overrides):
    (cfg,) = compose_jobs(["+experiment=resnet_fat", "fleet.chips=2", *overrides])
    return build_experiment(cfg)
