"""The cost and results of a campaign, by strategy and by chip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from efat.campaign.experiment import Experiment
from efat.campaign.results import Analysis, Measured, TrainedModel
from efat.campaign.tables import ChipResult, chip_results, group_name
from efat.campaign.walk import State, known
from efat.planning import EarlyStopping, Plan, info_of
from efat.resilience import Verification


@dataclass(frozen=True)
class TrainingCost:
    """An amount of training.

    Args:
        steps: Optimizer steps.
        epochs: Passes over the training split.
        samples: Training samples passed, counted each time.
        elapsed_s: Seconds of training, evaluations on the way included, summed over the processes.
        evaluations: Of them, on validation.
    """

    steps: int
    epochs: float
    samples: int
    elapsed_s: float
    evaluations: int = 0


@dataclass(frozen=True)
class StrategyResult:
    """What one strategy cost and achieved.

    Args:
        name: Planner, or `none`.
        models: Retrained models to store, one per group.
        beyond_map: Groups whose fused map is beyond the resilience map, retrained for the budget.
        retraining: Of all groups, without the analysis.
        pass_val: Chips that meet the constraint on validation, where decisions are made.
        pass_test: Chips that meet it on the test split.
        certified: Those of them whose interval does; None: the metric has no interval.
        mean_test: Mean of the test metric over all chips.
        worst_test: The worst of them.
        failing: Names of the chips that fail on the test split.
        diverged: Groups whose training diverged, so that their chips carry the masked baseline.
        repair_s: Seconds of repair before retraining, summed over the processes.
        topped_up: Groups that failed at their planned amount, and were trained further.
        topped_up_steps: Further training of those, all together.
        failing_groups: Groups that fail on validation at the end of the budget;
            those that diverged are not among them.
        needs_analysis: Whether its amounts come from the resilience analysis.
        kept_groups: Groups whose further training diverged; they carry the model of their first
            evaluation.
        description: What the strategy does, in a few words.
        label: Its name for people: `repair` where each chip is repaired first; empty: `name`.
    """

    name: str
    models: int
    beyond_map: int
    retraining: TrainingCost
    pass_val: int
    pass_test: int
    certified: int | None
    mean_test: float
    worst_test: float
    failing: tuple[str, ...]
    diverged: int = 0
    repair_s: float = 0.0
    topped_up: int = 0
    topped_up_steps: int = 0
    failing_groups: tuple[str, ...] = ()
    needs_analysis: bool = True
    kept_groups: tuple[str, ...] = ()
    description: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or self.name)


@dataclass(frozen=True)
class Outcome:
    """The result of a campaign.

    Args:
        baseline: The metric of the fault-free network.
        targets: The constraint on each split.
        pretrain_s: Seconds of training the baseline.
        analysis: Cost of the resilience curves; None: no strategy needed any.
        strategies: The chosen planner first, then those it is compared with.
        unsalvageable: Chips beyond the resilience map: no amount within the budget is known.
        chips: One row a chip for the chosen planner.
        test_samples: Samples of the test split.
        confidence: Of the interval by which a chip is certified.
        needed: Of those samples, how many must be right for that; None: no number is enough, or the
            metric has no interval.
        recipe: Its steps; without `retrain` there is no retraining.
        remap: What `remap` places, if it is one of them.
        mode: Of `compensate`, if it is one of them.
        calibration_s: Seconds of measuring Gram matrices, once per network.
        blocks: Blocks of the weights whose Gram matrix is in more than one, by parameter name.
        analysis_repair_s: Seconds of repair in the analysis.
        undecided: Unsalvageable chips that an analysis without `fault_rates.max_cost` might reach.
        hardening: Cost of hardening the network; None: it was not.
        hardened: The metric of the hardened network without faults.
    """

    baseline: Measured
    targets: Measured
    pretrain_s: float
    analysis: TrainingCost | None
    strategies: tuple[StrategyResult, ...]
    unsalvageable: tuple[str, ...]
    chips: tuple[ChipResult, ...]
    test_samples: int | None = None
    confidence: float = 0.95
    needed: int | None = None
    recipe: tuple[str, ...] = ("retrain",)
    remap: str = "columns"
    mode: str = "one_shot"
    calibration_s: float = 0.0
    blocks: Mapping[str, int] = field(default_factory=dict)
    analysis_repair_s: float = 0.0
    undecided: tuple[str, ...] = ()
    hardening: TrainingCost | None = None
    hardened: Measured | None = None

    def once_s(self, result: StrategyResult) -> float:
        """Return the seconds spent once per network that a strategy uses."""
        hardening_s = self.hardening.elapsed_s if self.hardening else 0.0
        before_s = (hardening_s + self.calibration_s) * (result.models > 0)
        analysis_s = self.analysis_repair_s + (self.analysis.elapsed_s if self.analysis else 0.0)
        return before_s + analysis_s * result.needs_analysis

    def once_epochs(self, result: StrategyResult) -> float:
        """Return the epochs of the same."""
        hardening = self.hardening.epochs if self.hardening else 0.0
        analysis = self.analysis.epochs if self.analysis else 0.0
        return hardening * (result.models > 0) + analysis * result.needs_analysis


def build_outcome(state: State) -> Outcome:
    """Add up what every strategy cost and achieved.

    The constraint is applied to each split with the baseline's metric on that split: a drop of
    one point is one point on validation, and one point on test.
    """
    experiment, models, analysis = state.experiment, state.models, state.analysis
    baseline, evaluation = known(state.baseline), known(state.evaluation)
    constraint = experiment.selection.constraint
    targets = Measured(state.target, constraint.target(evaluation.baseline.test))
    verification = experiment.verification(evaluation.test_samples)
    results = tuple(
        _strategy_result(
            experiment, name, plan, models[name], evaluation.after[name], targets, verification
        )
        for name, plan in state.plans.items()
    )
    chosen, hardened = state.plan, baseline.hardened
    return Outcome(
        baseline=evaluation.baseline,
        targets=targets,
        pretrain_s=baseline.elapsed_s,
        analysis=_analysis_cost(experiment, analysis) if analysis else None,
        strategies=results,
        unsalvageable=chosen.unsalvageable,
        chips=chip_results(state, targets),
        test_samples=evaluation.test_samples,
        confidence=verification.confidence,
        needed=verification.needed(targets.test),
        recipe=experiment.recipe.steps,
        remap=experiment.recipe.remap,
        mode=experiment.recipe.mode,
        calibration_s=baseline.grams.elapsed_s if baseline.grams else 0.0,
        blocks=baseline.grams.blocks if baseline.grams else {},
        analysis_repair_s=analysis.repair_s if analysis else 0.0,
        undecided=state.undecided,
        hardening=_cost(experiment, hardened.steps, hardened.elapsed_s, 1) if hardened else None,
        hardened=evaluation.hardened,
    )


def _strategy_result(
    experiment: Experiment,
    name: str,
    plan: Plan,
    models: tuple[TrainedModel, ...],
    after: dict[str, Measured],
    targets: Measured,
    verification: Verification,
) -> StrategyResult:
    judged = [
        verification.judge(measured.test, targets.test).verdict for measured in after.values()
    ]
    tests = [measured.test for measured in after.values()]
    meets = experiment.metric.meets
    longer = [m.topped_up_steps for m in models if m.topped_up and not plan.until_met]
    repairs = name == EarlyStopping.name and bool(experiment.recipe.repairs)
    return StrategyResult(
        name=name,
        label="repair" if repairs else name,
        models=len(models),
        beyond_map=sum(math.isinf(model.group.amount_steps) for model in models),
        retraining=_cost(
            experiment,
            sum(model.trained_steps for model in models),
            sum(model.elapsed_s for model in models),
            sum(model.evaluations for model in models),
        ),
        pass_val=sum(meets(measured.val, targets.val) for measured in after.values()),
        pass_test=sum(meets(test, targets.test) for test in tests),
        certified=judged.count("certified") if verification.has_interval else None,
        mean_test=sum(tests) / len(tests),
        worst_test=experiment.metric.worst(tests),
        failing=tuple(chip for chip, m in after.items() if not meets(m.test, targets.test)),
        diverged=sum(model.diverged for model in models),
        repair_s=sum(model.repair_s for model in models),
        topped_up=len(longer),
        topped_up_steps=sum(longer),
        failing_groups=tuple(
            group_name(i) for i, m in enumerate(models) if m.met is False and m.kept_steps is None
        ),
        needs_analysis=bool(models) and not plan.until_met,
        description=info_of(experiment.strategies.get(name)).description,
        kept_groups=tuple(group_name(i) for i, m in enumerate(models) if m.kept_steps is not None),
    )


def _cost(experiment: Experiment, steps: int, elapsed_s: float, evaluations: int) -> TrainingCost:
    per_epoch, per_step = experiment.amounts.steps_per_epoch, experiment.amounts.samples_per_step
    return TrainingCost(steps, steps / per_epoch, steps * per_step, elapsed_s, evaluations)


def _analysis_cost(experiment: Experiment, analysis: Analysis) -> TrainingCost:
    steps = sum(curve.amount_steps[-1] for curve in analysis.curves)
    evaluations = sum(len(curve.metric) for curve in analysis.curves)
    return _cost(experiment, steps, analysis.elapsed_s - analysis.repair_s, evaluations)
