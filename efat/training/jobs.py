"""Jobs as values: their content is the key of their result in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from efat.engine import OPTIONAL
from efat.hardware import FaultMap, SystolicArray
from efat.resilience import Metric
from efat.training.factory import Factory
from efat.training.finetune import FineTuneOptions
from efat.training.injection import Injection
from efat.training.pretrained import PretrainedWeights
from efat.training.recipe import Mode, Remap, Step

Weights = tuple[str, str]
"""Stage and key of weights in the store."""

PLAIN = FineTuneOptions()

GRAM_STEPS = 100
"""Rough cost of measuring Gram matrices in training steps, for a progress bar."""


@dataclass(frozen=True)
class TrainSpec:
    """Network, data and training; one for the baseline, one for fault-aware retraining.

    Args:
        model: Builds the network.
        data: Builds the `LightningDataModule`.
        num_classes: Classes of the data set; None where targets are not classes.
        trainer: Arguments of Lightning's `Trainer`.
        optimizer: Its value builds a torch optimizer from parameters; so usually a partial.
        scheduler: Its value builds a learning-rate schedule from an optimizer; None: constant.
        off_array: Names of layers that do not run on the array.
        loss: Its value is the loss of (outputs, targets); None: cross-entropy.
        metric: Builds a torchmetrics metric; None: accuracy.
        finetune: Frozen layers, learning rates by layer, mode of batch normalisation.
        channels_last: Keep images and convolutions in memory with channels innermost.
        split_hash: Hash of the samples in each split, if the data module has one.
    """

    model: Factory
    data: Factory
    num_classes: int | None
    trainer: Mapping[str, Any]
    optimizer: Factory
    scheduler: Factory | None = None
    off_array: tuple[str, ...] = ()
    loss: Factory | None = None
    metric: Factory | None = None
    finetune: FineTuneOptions = PLAIN
    channels_last: bool = False
    split_hash: str | None = None


@dataclass(frozen=True)
class RepairSpec:
    """Repair of a masked network before its training; see `efat.training.recipe.Recipe`.

    Args:
        steps: `remap`, `compensate`, `recalibrate`, in this order.
        mode: Of `compensate`.
        grams: Stage and key of the fault-free network's Gram matrices, if a step needs them.
        samples: Calibration samples; 0 if no step needs them.
        seed: Of their order.
        remap: Of `remap`.
    """

    steps: tuple[Step, ...]
    mode: Mode
    grams: Weights | None
    samples: int
    seed: int
    remap: Remap = field(default="columns", metadata=OPTIONAL)


@dataclass(frozen=True)
class StopCriterion:
    """End of a training that has met the constraint.

    A curve then shows the required amount; a group needs no more retraining.

    Args:
        limit: Target accuracy, or greatest error, on validation.
        higher_is_better: False where the metric is an error.
        sustained: Number of evaluations in a row that have to meet it.
        from_steps: The first evaluation, in optimizer steps; None: before any training.
    """

    limit: float
    higher_is_better: bool = True
    sustained: int = 1
    from_steps: int | None = field(default=None, metadata=OPTIONAL)

    def met(self, values: Sequence[float]) -> bool:
        """Return whether the last values of the metric meet it."""
        metric, last = Metric(higher_is_better=self.higher_is_better), values[-self.sustained :]
        return len(last) == self.sustained and all(metric.meets(v, self.limit) for v in last)


@dataclass(frozen=True)
class TrainingJob:
    """Train for exactly `amount_steps` optimizer steps, or `until` a constraint is met.

    Args:
        setup: See `TrainSpec`.
        seed: Of the weights (without `start`) and of the order of the samples.
        amount_steps: Optimizer steps; 0 trains nothing.
        eval_every_steps: Record the validation metric at 0 (or where `until` begins) and every so
            many steps after; 0 never.
        start: Stage and key of the stored weights to start from; None starts at random.
        array: The array, with `fault_map`.
        fault_map: Mask the network by this fault map; None trains it fault-free.
        keep_weights: Whether the result holds the trained weights.
        checkpoint: A user's file to start from instead.
        repair: Repair of the masked network before training; None: no repair.
        until: Stop once this is met, at an evaluation; None: never.
        injection: How the faults enter; None: all at once, before the first step.
        hardening: Lowest and highest rate of a new fault map each step; see
            `efat.training.hardening`.
    """

    setup: TrainSpec
    seed: int
    amount_steps: int
    eval_every_steps: int = 0
    start: Weights | None = None
    array: SystolicArray | None = None
    fault_map: FaultMap | None = None
    keep_weights: bool = True
    checkpoint: PretrainedWeights | None = None
    repair: RepairSpec | None = field(default=None, metadata=OPTIONAL)
    until: StopCriterion | None = field(default=None, metadata=OPTIONAL)
    injection: Injection | None = field(default=None, metadata=OPTIONAL)
    hardening: tuple[float, float] | None = field(default=None, metadata=OPTIONAL)

    @property
    def cost_steps(self) -> int:
        """Estimate the work, for a progress bar; an evaluation is worth about three steps."""
        every, first = self.eval_every_steps, self.first_evaluation
        if first:  # most trainings that are topped up end at it
            return first + 3
        return self.amount_steps + (3 * (self.amount_steps // every + 1) if every else 0)

    @property
    def checkpoint_steps(self) -> int:
        """Optimizer steps, between which the training can resume."""
        return self.amount_steps

    @property
    def first_evaluation(self) -> int:
        """The amount at which the metric is first recorded, if at all."""
        return (self.until.from_steps or 0) if self.until else 0

    def evaluates_at(self, steps: int) -> bool:
        """Return whether the metric is recorded at this amount."""
        every, past = self.eval_every_steps, steps - self.first_evaluation
        return every > 0 and past >= 0 and past % every == 0


def trained_steps(job: TrainingJob, values: Mapping[str, Any]) -> int:
    """Return the optimizer steps of a training, from the values of its result."""
    diverged: int | None = values["diverged_steps"]
    if diverged is not None:
        return diverged
    return int(values["amount_steps"][-1]) if job.until else job.amount_steps


@dataclass(frozen=True)
class EvaluationJob:
    """Measure stored weights on validation and test under several fault maps.

    Args:
        setup: See `TrainSpec`.
        start: Stage and key of the stored weights.
        array: The array of the fault maps.
        fault_maps: One measurement each; None measures the network fault-free.
    """

    setup: TrainSpec
    start: Weights
    array: SystolicArray
    fault_maps: tuple[FaultMap | None, ...]

    @property
    def cost_steps(self) -> int:
        """Estimate the work in training steps, for a progress bar."""
        return 6 * len(self.fault_maps)

    checkpoint_steps = 0


@dataclass(frozen=True)
class GramJob:
    """Measure the Gram matrices of the fault-free network's layer inputs.

    Args:
        setup: See `TrainSpec`; its optimizer has no effect.
        start: Stage and key of the stored weights.
        samples: Training samples, at the most one pass over the split.
        seed: Of their order.
    """

    setup: TrainSpec
    start: Weights
    samples: int
    seed: int

    @property
    def cost_steps(self) -> int:
        """Estimate the work in training steps, for a progress bar."""
        return GRAM_STEPS

    checkpoint_steps = 0
