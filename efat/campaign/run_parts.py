"""What a run was set to, its plan and its resilience map, each as one typed value."""

from __future__ import annotations

import math
from dataclasses import dataclass

from efat.campaign.experiment import Experiment
from efat.campaign.results import Analysis
from efat.campaign.tables import group_name
from efat.hardware import SystolicArray
from efat.planning import Plan, Rules
from efat.resilience import Interpolation, ResilienceMap, Severity


@dataclass(frozen=True)
class Settings:
    """What a reader of the results has to know of the configuration.

    Args:
        sustained: Evaluations in a row that must meet the constraint.
        constraint: Key that sets the constraint.
        array: The array of all chips.
        fault_rates: Fault rates that the analysis may measure.
    """

    sustained: int
    constraint: str
    array: SystolicArray
    fault_rates: tuple[float, ...]

    @classmethod
    def of(cls, experiment: Experiment) -> Settings:
        """Take them from an experiment."""
        limit = experiment.selection.constraint.limit
        return cls(
            experiment.selection.sustained,
            "selection.max_drop" if limit is None else "selection.limit",
            experiment.array,
            experiment.fault_rates,
        )


@dataclass(frozen=True)
class PlannedGroup:
    """One group of `plan.json`; `amount_steps` None: beyond the resilience map."""

    group: str
    members: tuple[str, ...]
    fused_fault_rate: float
    severity: float
    amount_steps: float | None
    fused_map_sha256: str


@dataclass(frozen=True)
class PlanResult:
    """The plan that was carried out, as in `plan.json`.

    Args:
        planner: Its name.
        total_steps: Retraining of all groups; None: some are beyond the resilience map.
        rules: Limits and prices.
        price: By the rules; None: without planned amounts.
        bound: No plan has a lower price; None: without planned amounts.
        gap: Share of the price that a better plan could save at most.
        until_met: Whether chips are trained until they meet the constraint, without amounts.
        unsalvageable: Chips beyond the resilience map.
        groups: Largest amount first.
    """

    planner: str
    total_steps: float | None
    rules: Rules
    price: float | None
    bound: float | None
    gap: float | None
    until_met: bool
    unsalvageable: tuple[str, ...]
    groups: tuple[PlannedGroup, ...]

    @classmethod
    def of(cls, name: str, plan: Plan, severity: Severity) -> PlanResult:
        """Describe a plan."""
        return cls(
            planner=name,
            total_steps=finite_or_none(plan.total_steps),
            rules=plan.rules,
            price=None if plan.until_met else finite_or_none(plan.price),
            bound=None if plan.until_met else plan.bound,
            gap=None if plan.until_met else plan.gap,
            until_met=plan.until_met,
            unsalvageable=plan.unsalvageable,
            groups=tuple(
                PlannedGroup(
                    group_name(index),
                    group.members,
                    group.fused.fault_rate,
                    severity(group.fused),
                    finite_or_none(group.amount_steps),
                    group.fused.key,
                )
                for index, group in enumerate(plan.groups)
            ),
        )


@dataclass(frozen=True)
class MapResult:
    """The resilience map, as in `resilience_map.json`; an amount of None is never reached."""

    metric: str
    target: float
    severity: str
    interpolation: Interpolation
    stat: str
    monotone: str
    sustained: int
    max_severity: float
    steps_per_epoch: int
    budget_steps: int
    fault_rates: tuple[float, ...]
    cut_short: bool
    severities: tuple[float, ...]
    amounts_steps: tuple[float | None, ...]

    @classmethod
    def of(cls, experiment: Experiment, analysis: Analysis) -> MapResult:
        """Describe the map of an analysis."""
        resilience_map, selection = analysis.resilience_map, experiment.selection
        return cls(
            experiment.metric.name,
            resilience_map.target,
            experiment.severity_name,
            resilience_map.interpolation,
            selection.stat,
            selection.monotone,
            selection.sustained,
            resilience_map.max_severity,
            experiment.amounts.steps_per_epoch,
            experiment.amounts.budget_steps,
            analysis.fault_rates,
            analysis.cut_short,
            resilience_map.severities,
            tuple(map(finite_or_none, resilience_map.amounts_steps)),
        )

    @property
    def resilience_map(self) -> ResilienceMap:
        """The map itself."""
        amounts = tuple(math.inf if a is None else a for a in self.amounts_steps)
        return ResilienceMap(self.target, self.severities, amounts, self.interpolation)


def finite_or_none(value: float) -> float | None:
    """Return None for infinity and NaN, which JSON and CSV cannot hold."""
    return value if math.isfinite(value) else None
