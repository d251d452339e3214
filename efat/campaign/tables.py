"""One row per chip and one row per group: what was planned, trained and measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from efat.campaign.results import Measured, TrainedModel
from efat.campaign.walk import State, known
from efat.hardware import Chip
from efat.planning import Cost as PlanCost
from efat.planning import Group, Plan
from efat.resilience import Verification

Row = dict[str, Any]


@dataclass(frozen=True)
class ChipResult:
    """One row of `chips.csv`: what the carried-out plan did to a chip.

    Args:
        chip_id: Its name.
        fault_rate: Share of faulty PEs.
        severity: Of its fault map, on the axis of the resilience map.
        group: Name of its group; empty: it has none.
        group_size: Chips in the group.
        fused_fault_rate: Of the group's fused fault map.
        amount_steps: Planned retraining amount; None: none, or beyond the resilience map.
        amount_epochs: The same in epochs.
        trained_steps: Steps behind the weights that it carries.
        val_before: Metric on validation, masked baseline.
        val_after: Metric on validation, its model.
        test_before: On test, masked baseline.
        test_after: On test, its model.
        pass_val: Whether the constraint is met on validation.
        pass_test: Whether it is met on test.
        test_low: Lower end of the interval of `test_after`; None: the metric has none.
        test_high: Upper end.
        status: `certified`, `pass` or `fail`, on test.
        salvageable: False: beyond the resilience map.
    """

    chip_id: str
    fault_rate: float
    severity: float
    group: str
    group_size: int
    fused_fault_rate: float | None
    amount_steps: int | None
    amount_epochs: float | None
    trained_steps: int | None
    val_before: float
    val_after: float
    test_before: float
    test_after: float
    pass_val: bool
    pass_test: bool
    test_low: float | None
    test_high: float | None
    status: str
    salvageable: bool


@dataclass(frozen=True)
class GroupResult:
    """One row of `groups.csv`; the row named `unsalvageable` holds chips, and nothing else.

    Args:
        group: Its name.
        chips: How many.
        fused_rate: Fault rate of the fused fault map.
        amount_steps: Planned retraining amount; None: beyond the resilience map.
        trained_steps: Steps behind its model; None before it is trained.
        topped_up: Whether it failed at its planned amount and was trained further.
        alone_steps: Sum of the amounts of its chips, each on its own.
        price: Of the group, by the rules.
        price_alone: Of its chips, each on its own.
        share_saved: Share of `alone_steps` that the group saves; None where that is nothing.
        members: Names of its chips, joined by `;`.
    """

    group: str
    chips: int
    fused_rate: float | None = None
    amount_steps: float | None = None
    trained_steps: int | None = None
    topped_up: bool | None = None
    alone_steps: float | None = None
    price: float | None = None
    price_alone: float | None = None
    share_saved: float | None = None
    members: str = ""


def chip_results(state: State, targets: Measured) -> tuple[ChipResult, ...]:
    """Return one row per chip, in the fleet's order, for the plan that was carried out."""
    experiment, plan, models = state.experiment, state.plan, state.carried
    evaluation, severity = known(state.evaluation), known(state.severity)
    groups = {c: (group_name(i), g) for i, g in enumerate(plan.groups) for c in g.members}
    trained = {group_name(i): model.carried_steps for i, model in enumerate(models)}
    after = evaluation.after[experiment.planner_name]
    verification = experiment.verification(evaluation.test_samples)
    rows = []
    for chip in experiment.fleet:
        name, group = groups.get(chip.chip_id, ("", None))
        before, now = evaluation.before[chip.chip_id], after[chip.chip_id]
        steps = int(group.amount_steps) if group and group.amount_steps < math.inf else None
        rows.append(
            ChipResult(
                chip_id=chip.chip_id,
                fault_rate=chip.fault_map.fault_rate,
                severity=severity(chip.fault_map),
                group=name,
                group_size=len(group.members) if group else 0,
                fused_fault_rate=group.fused.fault_rate if group else None,
                amount_steps=steps,
                amount_epochs=None if steps is None else steps / experiment.amounts.steps_per_epoch,
                trained_steps=trained.get(name),
                **measured_cells(verification, before, now, targets),
                salvageable=chip.chip_id not in plan.unsalvageable,
            )
        )
    return tuple(rows)


def measured_cells(
    verification: Verification, before: Measured, now: Measured, limit: Measured
) -> Row:
    """Return the cells of a chip about its metric: masked baseline, its model, the constraint."""
    metric, judged = verification.metric, verification.judge(now.test, limit.test)
    return {
        "val_before": before.val,
        "val_after": now.val,
        "test_before": before.test,
        "test_after": now.test,
        "pass_val": metric.meets(now.val, limit.val),
        "pass_test": metric.meets(now.test, limit.test),
        "test_low": judged.low,
        "test_high": judged.high,
        "status": judged.verdict,
    }


def group_results(
    plan: Plan, chips: Sequence[Chip], cost: PlanCost, models: Sequence[TrainedModel] = ()
) -> tuple[GroupResult, ...]:
    """Return one row per group, largest amount first, and one for the unsalvageable chips, if any.

    Prices are those of the rules, and may hold a price per model. `trained_steps` and `topped_up`
    are None before there are `models`. A plan until the constraint is met has no such costs.
    """
    maps = {chip.chip_id: chip.fault_map for chip in chips}
    rows = []
    for index, group in enumerate(plan.groups):
        costs = [] if plan.until_met else [cost(maps[name]) for name in group.members]
        rows.append(
            GroupResult(
                group=group_name(index),
                chips=len(group.members),
                fused_rate=group.fused.fault_rate,
                amount_steps=group.amount_steps if group.amount_steps < math.inf else None,
                trained_steps=models[index].carried_steps if models else None,
                topped_up=models[index].topped_up if models else None,
                **_cost_cells(plan, group, costs),
                members=";".join(group.members),
            )
        )
    if plan.unsalvageable:
        members = ";".join(plan.unsalvageable)
        rows.append(GroupResult("unsalvageable", len(plan.unsalvageable), members=members))
    return tuple(rows)


def _cost_cells(plan: Plan, group: Group, costs: Sequence[float]) -> Row:
    """Return the cost of a group beside its chips one by one, whose amounts are `costs`."""
    if not costs:
        return {}
    alone = sum(map(plan.rules.amount, costs))
    price = plan.rules.price(group.amount_steps)
    finite = price < math.inf
    return {
        "alone_steps": alone,
        "price": price if finite else None,
        "price_alone": sum(map(plan.rules.price, costs)),
        "share_saved": 1 - group.amount_steps / alone if finite and alone else None,
    }


def group_name(index: int) -> str:
    """Name the group at `index` of a plan, as in tables and checkpoint files."""
    return f"group{index:03d}"
