"""An experiment: everything that a campaign needs, built and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from efat.hardware import Fleet, SystolicArray
from efat.planning import Planner, Rules, info_of
from efat.resilience import (
    ACCURACY,
    Constraint,
    Interpolation,
    Metric,
    Monotone,
    ResilienceCurve,
    ResilienceMap,
    Search,
    Stat,
    Verification,
    amounts_of_rates,
    build_resilience_map,
    severity_of_rate,
)
from efat.training import PretrainedWeights, Recipe, TrainingJob, TrainSpec

RETRAIN = Recipe()


@dataclass(frozen=True)
class Amounts:
    """Amounts of training in optimizer steps, and what a step is.

    Args:
        pretrain_steps: Training of the baseline.
        budget_steps: Largest retraining amount of the analysis (`E_max`).
        eval_every_steps: Steps between two points of a curve.
        steps_per_epoch: Optimizer steps in one pass over the training split.
        samples_per_step: Training samples in one optimizer step.
    """

    pretrain_steps: int
    budget_steps: int
    eval_every_steps: int
    steps_per_epoch: int
    samples_per_step: int


@dataclass(frozen=True)
class Selection:
    """How curves become retraining amounts (`efat.resilience`), and how certain verdicts are."""

    constraint: Constraint
    stat: Stat
    quantile: float
    interpolation: Interpolation
    confidence: float = 0.95
    sustained: int = 1
    monotone: Monotone = "envelope"

    def read(
        self,
        curves: Sequence[ResilienceCurve],
        target: float,
        severities: Mapping[float, Sequence[float]] | None = None,
    ) -> ResilienceMap:
        """Read the resilience map off curves (METHOD section 5)."""
        return build_resilience_map(
            curves,
            target,
            self.stat,
            self.quantile,
            self.interpolation,
            self.sustained,
            self.monotone,
            severities,
        )

    def amounts_by_rate(
        self,
        curves: Sequence[ResilienceCurve],
        target: float,
        severities: Mapping[float, Sequence[float]],
    ) -> dict[float, float]:
        """Return the resilience map's amount (steps) at each fault rate that it is read off."""
        maps = {rate: len(of_rate) for rate, of_rate in severities.items()}
        rates = amounts_of_rates(curves, target, self.stat, self.quantile, self.sustained, maps)
        if not rates:
            return {}
        resilience_map = self.read(curves, target, severities)
        return {rate: resilience_map.amount(severity_of_rate(severities[rate])) for rate in rates}


@dataclass(frozen=True)
class Experiment:
    """One network, one array, one fleet, and how to retrain for it.

    Args:
        name: Shown in tables and figures.
        seed: Of every random draw, each on a stream of its own.
        array: The array of all chips.
        fleet: The chips to retrain for.
        severity_name: Name of the severity measure: the x axis of the resilience map.
        baseline_setup: How the fault-free network is trained.
        retrain_setup: How a masked network is retrained.
        amounts: Amounts of training.
        fault_rates: Fault rates of the resilience analysis, in (0, 1].
        maps_per_rate: Random fault maps at each of them.
        selection: How curves become amounts.
        rules: Limits and prices of a plan.
        planner: The planner whose plan is carried out; it has the rules too.
        compare: Strategies to compare with, by name; None is the one without retraining.
        metric: The metric of the constraint.
        checkpoint: The baseline's weights, if it is not to be trained.
        skipped: Images that were left out, one line each.
        recipe: Steps applied to a masked network, retraining included.
        until_met: Whether a curve of the analysis ends where it first meets the constraint.
        hardening: How the baseline is hardened, without its weights; None: it is not.
        search: Whether all fault rates are measured, or those that bisection asks for.
        max_cost: See `RateGrid`.
    """

    name: str
    seed: int
    array: SystolicArray
    fleet: Fleet
    severity_name: str
    baseline_setup: TrainSpec
    retrain_setup: TrainSpec
    amounts: Amounts
    fault_rates: tuple[float, ...]
    maps_per_rate: int
    selection: Selection
    rules: Rules
    planner: Planner
    compare: dict[str, Planner | None]
    metric: Metric = ACCURACY
    checkpoint: PretrainedWeights | None = None
    skipped: tuple[str, ...] = ()
    recipe: Recipe = RETRAIN
    until_met: bool = False
    hardening: TrainingJob | None = None
    search: Search = "grid"
    max_cost: float | None = None

    def verification(self, test_samples: int | None) -> Verification:
        """Return how chips are judged on a test split of so many samples."""
        return Verification(self.metric, test_samples, self.selection.confidence)

    def without(self, steps: Sequence[str]) -> Experiment:
        """Return the experiment with a recipe that leaves out these steps."""
        return replace(self, recipe=self.recipe.without(steps)) if steps else self

    @property
    def planner_name(self) -> str:
        """Name of the planner in tables and files."""
        return info_of(self.planner).name

    @property
    def strategies(self) -> dict[str, Planner | None]:
        """The chosen planner, first, and those it is compared with; by name."""
        return {self.planner_name: self.planner} | {
            name: planner for name, planner in self.compare.items() if name != self.planner_name
        }

    @property
    def needs_map(self) -> bool:
        """Whether any strategy needs the resilience map, and so its analysis."""
        return any(info_of(planner).needs_map for planner in self.strategies.values())
