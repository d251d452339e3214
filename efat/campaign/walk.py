"""The stages of a campaign and their order, written once; everything that runs stages walks them.

`run_stages` walks them with a runner that computes (`UnitRunner`: a job of the command line, a
study) or one that only looks results up (`efat.campaign.status`: what is done and what is missing).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from efat.campaign import stages
from efat.campaign.analysis import analyse
from efat.campaign.experiment import Experiment
from efat.campaign.results import Analysis, Arrival, Baseline, Evaluation, Single, TrainedModel
from efat.engine import Runner
from efat.errors import EfatError
from efat.planning import Plan
from efat.resilience import ResilienceMap, Severity
from efat.training import GRAM_STEPS

Known = TypeVar("Known")


@dataclass(frozen=True)
class State:
    """What a campaign knows so far; stages add to it.

    Args:
        experiment: What is run.
        until: Last stage that is asked for.
        baseline: The fault-free network.
        severity: The x axis of the resilience map, measured on the baseline.
        analysis: Resilience curves and map; None where no strategy needs them.
        plans: By strategy, the chosen planner's first.
        models: Retrained networks by strategy, in the order of the plan's groups.
        evaluation: The metric of every chip.
        single: Of `stage=single`.
        arrival: Of `stage=assign`.
    """

    experiment: Experiment
    until: str = "evaluate"
    baseline: Baseline | None = None
    severity: Severity | None = None
    analysis: Analysis | None = None
    plans: dict[str, Plan] = field(default_factory=dict)
    models: dict[str, tuple[TrainedModel, ...]] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    single: Single | None = None
    arrival: Arrival | None = None

    @property
    def resilience_map(self) -> ResilienceMap | None:
        """The resilience map, if there is one."""
        return self.analysis.resilience_map if self.analysis else None

    @property
    def target(self) -> float:
        """The target accuracy (or target value of another metric) on validation."""
        return self.experiment.selection.constraint.target(known(self.baseline).val_metric)

    @property
    def plan(self) -> Plan:
        """The plan that is carried out."""
        return self.plans[self.experiment.planner_name]

    @property
    def carried(self) -> tuple[TrainedModel, ...]:
        """The models of that plan; none before they are retrained."""
        return self.models.get(self.experiment.planner_name, ())

    @property
    def undecided(self) -> tuple[str, ...]:
        """Unsalvageable chips that an analysis without `max_cost` might reach."""
        if self.analysis is None:
            return ()
        chips, unsalvageable = self.experiment.fleet.chips, self.plan.unsalvageable
        return self.analysis.undecided(chips, unsalvageable, known(self.severity))


def known(value: Known | None) -> Known:
    """Return what an earlier stage left in the state."""
    assert value is not None, "a stage before this one sets it"  # noqa: S101
    return value


@dataclass(frozen=True)
class Stage:
    """One stage.

    Args:
        name: As in `stage=NAME` and in the terminal.
        description: What it does and makes, in one line.
        run: Takes the state before it, returns the state after it.
        cost_steps: Guessed work in training steps, before earlier stages say more.
        needed: Whether this campaign runs it.
    """

    name: str
    description: str
    run: Callable[[State, Runner], State]
    cost_steps: Callable[[Experiment], float]
    needed: Callable[[State], bool] = lambda _: True


def _pretrain(state: State, runner: Runner) -> State:
    baseline = stages.pretrain(state.experiment, runner)
    return _with_baseline(state, runner, baseline)


def _harden(state: State, runner: Runner) -> State:
    baseline = stages.harden(state.experiment, runner, known(state.baseline))
    return _with_baseline(state, runner, baseline)


def _with_baseline(state: State, runner: Runner, baseline: Baseline) -> State:
    severity = stages.severity_measure(state.experiment, runner.store, baseline)
    return replace(state, baseline=baseline, severity=severity)


def _measure_grams(state: State, runner: Runner) -> State:
    baseline = stages.measure_grams(state.experiment, runner, known(state.baseline))
    return replace(state, baseline=baseline)


def _analyse(state: State, runner: Runner) -> State:
    baseline, severity = known(state.baseline), known(state.severity)
    return replace(state, analysis=analyse(state.experiment, runner, baseline, severity))


def _plan(state: State, _: Runner) -> State:
    plans = stages.plan(state.experiment, state.resilience_map, known(state.severity))
    return replace(state, plans=plans)


def _retrain(state: State, runner: Runner) -> State:
    plans = state.plans
    if state.until == "retrain":  # what is compared is of no use before it is measured
        plans = {state.experiment.planner_name: state.plan}
    models = stages.retrain(state.experiment, runner, known(state.baseline), plans)
    return replace(state, models=models)


def _evaluate(state: State, runner: Runner) -> State:
    evaluation = stages.evaluate(state.experiment, runner, known(state.baseline), state.models)
    return replace(state, evaluation=evaluation)


def _single(state: State, runner: Runner) -> State:
    baseline, severity = known(state.baseline), known(state.severity)
    return replace(state, single=stages.single(state.experiment, runner, baseline, severity))


def _analysis_steps(experiment: Experiment) -> float:
    amounts = experiment.amounts
    curves = len(experiment.fault_rates) * experiment.maps_per_rate * (experiment.max_cost or 1)
    points = amounts.budget_steps // amounts.eval_every_steps
    return int(curves) * (amounts.budget_steps + 3 * points)


def _trained_networks(experiment: Experiment) -> int:
    return len(experiment.fleet) * (1 + len(experiment.compare))


STAGES = (
    Stage(
        "pretrain",
        "train the fault-free network, or load it from baseline.checkpoint",
        _pretrain,
        lambda e: e.amounts.pretrain_steps,
    ),
    Stage(
        "harden",
        "train it once to withstand faults, where the recipe asks for that",
        _harden,
        lambda e: e.hardening.amount_steps if e.hardening else 0,
        lambda state: state.experiment.hardening is not None,
    ),
    Stage(
        "measure_grams",
        "measure the Gram matrices, where closed-form repair needs them",
        _measure_grams,
        lambda e: GRAM_STEPS if e.recipe.needs_grams else 0,
    ),
    Stage(
        "analyse",
        "record resilience curves and read the resilience map off them",
        _analyse,
        _analysis_steps,
        lambda state: state.experiment.needs_map or state.until == "analyse",
    ),
    Stage("plan", "group the chips: plan.json, groups.csv", _plan, lambda _: 0),
    Stage(
        "retrain",
        "repair and retrain one model per group",
        _retrain,
        lambda e: _trained_networks(e) * (e.amounts.budget_steps // 6),
    ),
    Stage(
        "evaluate",
        "measure every chip on validation and test, and write the report",
        _evaluate,
        lambda e: 6 * _trained_networks(e),
    ),
)
"""In the order in which data flows."""

SINGLE = Stage(
    "single",
    "retrain the first chip's network for the whole budget",
    _single,
    lambda e: e.amounts.budget_steps,
)


def stages_until(until: str) -> tuple[Stage, ...]:
    """Return the stages that a campaign passes to reach `until`, which is one of them.

    >>> tuple(stage.name for stage in stages_until("single"))
    ('pretrain', 'harden', 'measure_grams', 'single')
    """
    names = [stage.name for stage in STAGES]
    if until == SINGLE.name:
        return (*STAGES[: names.index("analyse")], SINGLE)
    return STAGES[: names.index(until) + 1]


def run_stages(
    experiment: Experiment,
    runner: Runner,
    until: str = "evaluate",
    on_done: Callable[[str, State], None] = lambda *_: None,
) -> State:
    """Run the stages in order.

    Args:
        experiment: What to run.
        runner: Gets the results of each stage's jobs.
        until: The last stage.
        on_done: Called after each stage with its name and the state, to print or to save.

    Returns:
        What is known in the end.

    Raises:
        EfatError: The constraint is above the baseline, a training diverged or units failed.
    """
    state = State(experiment, until)
    for stage in stages_until(until):
        if not stage.needed(state):
            continue
        state = stage.run(state, runner)
        on_done(stage.name, state)
        if stage.name == "pretrain":
            _check_reachable(state)
    return state


def _check_reachable(state: State) -> None:
    """Refuse a target that is better than the baseline: no chip can be expected to reach it."""
    reached = known(state.baseline).val_metric
    if not math.isnan(reached) and not state.experiment.metric.meets(reached, state.target):
        raise EfatError(
            f"selection.limit: {state.target} asked for, but the fault-free baseline reaches only "
            f"{reached:.4f} on validation; ask for less or train a better baseline"
        )


def estimate_steps(experiment: Experiment, until: str) -> dict[str, int]:
    """Guess the work ahead by stage, in training steps, until each stage knows better."""
    state = State(experiment, until)
    return {
        stage.name: int(stage.cost_steps(experiment))
        for stage in stages_until(until)
        if stage.needed(state)
    }
