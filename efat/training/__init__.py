"""Run one job, return one result: the Lightning module, its callbacks and the trainer.

Imports `nn`, `hardware`, `data`, `models`, `resilience` (the metric), `engine` and below.
"""

from efat.training.checkpoints import Checkpoints
from efat.training.factory import Factory
from efat.training.finetune import FineTuneOptions
from efat.training.injection import Injection
from efat.training.jobs import (
    GRAM_STEPS,
    EvaluationJob,
    GramJob,
    RepairSpec,
    StopCriterion,
    TrainingJob,
    TrainSpec,
    Weights,
    trained_steps,
)
from efat.training.loading import load_model, training_batches
from efat.training.module import FaultAwareModule, unwrap
from efat.training.pretrained import PretrainedWeights
from efat.training.recipe import REPAIR_STEPS, STEPS, Gradual, Recipe
from efat.training.trainer import build_loss

__all__ = [
    "GRAM_STEPS",
    "REPAIR_STEPS",
    "STEPS",
    "Checkpoints",
    "EvaluationJob",
    "Factory",
    "FaultAwareModule",
    "FineTuneOptions",
    "Gradual",
    "GramJob",
    "Injection",
    "PretrainedWeights",
    "Recipe",
    "RepairSpec",
    "StopCriterion",
    "TrainSpec",
    "TrainingJob",
    "Weights",
    "build_loss",
    "load_model",
    "trained_steps",
    "training_batches",
    "unwrap",
]
