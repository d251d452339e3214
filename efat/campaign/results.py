"""What the stages of a campaign find out, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from efat.hardware import Chip
from efat.planning import Assignment, Group, Plan
from efat.resilience import ResilienceCurve, ResilienceMap, Severity
from efat.training import Weights


@dataclass(frozen=True)
class MeasuredGrams:
    """Gram matrices of the fault-free network: where they are, and what measuring them cost.

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
    """The network after hardening: its weights, its metric without faults, and what it took."""

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
        trained_steps: What it was retrained for; the whole budget where the plan says inf, more
            than planned where it was topped up.
        weights: Where its weights are.
        elapsed_s: Training time.
        diverged: Whether its training ended with no finite weights; then there is no network.
        repair_s: Time of its repair.
        evaluations: On validation, during the training.
        met: Whether it met the constraint there; None: nobody looked.
        topped_up: Whether it was trained on because it was short at its planned amount.
        kept_steps: Where training on diverged: the amount whose weights it carries; else None.
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
        """The amount that it was trained for in the end, topping up included; may be inf."""
        return self.group.amount_steps + max(0, self.carried_steps - self.group.amount_steps)

    @property
    def carried_steps(self) -> int:
        """The steps behind the weights that it carries; less than it cost where it diverged."""
        return self.trained_steps if self.kept_steps is None else self.kept_steps

    @property
    def topped_up_steps(self) -> int:
        """What it was topped up by, also where nothing came of it."""
        return int(self.trained_steps - self.group.amount_steps) if self.topped_up else 0


def diverged_note(names: Sequence[str], planned: bool = True) -> str:
    """Say what became of groups that diverged where they were trained on.

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


def lost_note(beyond: Sequence[str], undecided: Sequence[str]) -> str:
    """Name the chips beyond the resilience map, those apart that a limit may have kept there."""
    lost = [name for name in beyond if name not in undecided]
    why = "undecided, since fault_rates.max_cost ended the analysis"
    said = [f"unsalvageable, beyond the resilience map: {', '.join(lost)}"] if lost else []
    return "; ".join([*said, f"{why}: {', '.join(undecided)}"] if undecided else said)


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
    """One chip, retrained for the whole budget: its curve, its network, and what that reaches."""

    chip: Chip
    curve: ResilienceCurve
    model: TrainedModel
    evaluation: Evaluation


@dataclass(frozen=True)
class Arrival:
    """The fleet's chips placed in a library.

    Args:
        assignment: Where each chip went; models are numbered as in the library.
        plan: The models that have to be trained, as groups; those planned before included.
        names: Of the assignment's models, as in the library.
    """

    assignment: Assignment
    plan: Plan
    names: tuple[str, ...]
