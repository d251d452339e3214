"""The values that the stages of a campaign return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from efat.hardware import Chip
from efat.planning import Assignment, Group, Plan
from efat.resilience import ResilienceCurve, ResilienceMap, Severity
from efat.training import Weights


@dataclass(frozen=True)
class MeasuredGrams:
    """Gram matrices of the fault-free network: their place in the store and the cost of measuring.

    Args:
        weights: Where they are in the store.
        samples: Samples that were passed forward.
        elapsed_s: Seconds that measuring them took.
        blocks: Blocks of weights with too many inputs for a whole matrix, by parameter name.
    """

    weights: Weights
    samples: int
    elapsed_s: float
    blocks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Hardened:
    """The network after hardening: weights, metric without faults, steps and seconds."""

    weights: Weights
    val_metric: float
    steps: int
    elapsed_s: float


@dataclass(frozen=True)
class Baseline:
    """The fault-free network: its weights, the metric on validation, and what repair needs.

    The constraint is relative to it, whether it was hardened or not.
    """

    weights: Weights
    val_metric: float
    elapsed_s: float
    grams: MeasuredGrams | None = None
    hardened: Hardened | None = None

    @property
    def start(self) -> Weights:
        """The weights that analysis, repair and retraining start from."""
        return self.hardened.weights if self.hardened else self.weights


@dataclass(frozen=True)
class Analysis:
    """The resilience curves, the map read off them, and what they cost.

    Args:
        curves: In the order of fault rate and repeat.
        elapsed_s: Seconds of all trainings, repairs included.
        repair_s: Seconds of repair before them.
        resilience_map: Retraining amount over severity for the constraint on validation.
        fault_rates: Fault rates that the map is read off, increasing.
        reach: Severity up to which more curves might extend the map; None: `max_cost` did not end
            the analysis early.
    """

    curves: tuple[ResilienceCurve, ...]
    elapsed_s: float
    repair_s: float
    resilience_map: ResilienceMap
    fault_rates: tuple[float, ...] = ()
    reach: float | None = None

    @property
    def cut_short(self) -> bool:
        """Whether `max_cost` ended the analysis where it would have gone on."""
        return self.reach is not None

    def undecided(
        self, chips: Sequence[Chip], unsalvageable: Sequence[str], severity: Severity
    ) -> tuple[str, ...]:
        """Return the unsalvageable chips that an analysis without a limit might reach."""
        if self.reach is None:
            return ()
        maps = {chip.chip_id: chip.fault_map for chip in chips}
        return tuple(name for name in unsalvageable if severity(maps[name]) <= self.reach)


@dataclass(frozen=True)
class TrainedModel:
    """The repaired and retrained network of one group.

    Args:
        group: Its chips, fused map and planned amount.
        trained_steps: Optimizer steps of retraining; the whole budget where the plan says inf,
            more than planned where it was topped up.
        weights: Their place in the store.
        elapsed_s: Seconds of training.
        diverged: Whether its training ended with no finite weights; then there is no network.
        repair_s: Seconds of repair.
        evaluations: Evaluations on validation during the training.
        met: Whether the constraint was met on validation; None if not evaluated.
        topped_up: Whether it failed at its planned amount and was trained further.
        kept_steps: Where further training diverged: the steps behind the weights that were kept.
    """

    group: Group
    trained_steps: int
    weights: Weights
    elapsed_s: float
    diverged: bool = False
    repair_s: float = 0.0
    evaluations: int = 0
    met: bool | None = None
    topped_up: bool = False
    kept_steps: int | None = None

    @property
    def amount_steps(self) -> float:
        """The retraining amount in the end, topping up included; may be inf."""
        return self.group.amount_steps + max(0, self.carried_steps - self.group.amount_steps)

    @property
    def carried_steps(self) -> int:
        """The steps behind the weights that are kept; fewer than were run where it diverged."""
        return self.trained_steps if self.kept_steps is None else self.kept_steps

    @property
    def topped_up_steps(self) -> int:
        """Steps of topping up, also where they did not help."""
        return int(self.trained_steps - self.group.amount_steps) if self.topped_up else 0


def diverged_note(names: Sequence[str], planned: bool = True) -> str:
    """Say which model is kept for groups whose further training diverged.

    Args:
        names: Of the groups, or of the chips where each has a model of its own.
        planned: Whether they had a planned amount, not each chip until it meets the constraint.
    """
    which, kept = (
        ("Training on", "model of the planned amount")
        if planned
        else ("Training", "network from before retraining")
    )
    return (
        f"{which} diverged for {', '.join(names)}: the {kept} is kept; "
        "use a lower learning rate (training.optimizer.lr)."
    )


def unsalvageable_note(beyond: Sequence[str], undecided: Sequence[str]) -> str:
    """Name the chips beyond the resilience map, separately those that `max_cost` left undecided."""
    unsalvageable = [name for name in beyond if name not in undecided]
    why = "undecided, since fault_rates.max_cost ended the analysis"
    notes = []
    if unsalvageable:
        notes.append(f"unsalvageable, beyond the resilience map: {', '.join(unsalvageable)}")
    if undecided:
        notes.append(f"{why}: {', '.join(undecided)}")
    return "; ".join(notes)


@dataclass(frozen=True)
class Measured:
    """The metric of one network on one chip."""

    val: float
    test: float


@dataclass(frozen=True)
class Evaluation:
    """The metric of the fault-free baseline and of every chip, masked by its own fault map.

    Args:
        baseline: The fault-free network.
        before: The masked baseline, by chip.
        after: The model that the chip carries, by strategy and chip; the masked baseline for
            chips without a group, or whose group's training diverged.
        test_samples: Samples of the test split.
        hardened: The hardened network without faults, if there is one.
    """

    baseline: Measured
    before: dict[str, Measured]
    after: dict[str, dict[str, Measured]]
    test_samples: int | None = None
    hardened: Measured | None = None


@dataclass(frozen=True)
class Single:
    """One chip retrained for the whole budget: its curve, network and metric."""

    chip: Chip
    curve: ResilienceCurve
    model: TrainedModel
    evaluation: Evaluation


@dataclass(frozen=True)
class Arrival:
    """New chips assigned to the models of a library.

    Args:
        assignment: The model of each chip; models are numbered as in the library.
        plan: Models still to be trained, as groups; those planned earlier included.
        names: Names of the assignment's models in the library.
    """

    assignment: Assignment
    plan: Plan
    names: tuple[str, ...]
