"""A row a chip and a row a group: what was planned, trained and measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from efat.campaign.results import Measured, TrainedModel
from efat.campaign.walk import State, known
from efat.hardware import Chip
from efat.planning import Cost as PlanCost
from efat.planning import Group, Plan
from efat.resilience import Verification

Row = dict[str, Any]

GROUP_COLUMNS = (
    "group",
    "chips",
    "fused_rate",
    "amount_steps",
    "trained_steps",
    "topped_up",
    "alone_steps",
    "price",
    "price_alone",
    "share_saved",
    "members",
)
"""Of the table of groups."""


def chip_rows(state: State, targets: Measured) -> list[Row]:
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
            {
                "chip_id": chip.chip_id,
                "fault_rate": chip.fault_map.fault_rate,
                "severity": severity(chip.fault_map),
                "group": name,
                "group_size": len(group.members) if group else 0,
                "fused_fault_rate": group.fused.fault_rate if group else None,
                "amount_steps": steps,
                "amount_epochs": None
                if steps is None
                else steps / experiment.amounts.steps_per_epoch,
                "trained_steps": trained.get(name),
                **measured_cells(verification, before, now, targets),
                "salvageable": chip.chip_id not in plan.unsalvageable,
            }
        )
    return rows


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
        "met_val": metric.meets(now.val, limit.val),
        "met_test": metric.meets(now.test, limit.test),
        "test_low": judged.low,
        "test_high": judged.high,
        "status": judged.status,
    }


def group_rows(
    plan: Plan, chips: Sequence[Chip], cost: PlanCost, models: Sequence[TrainedModel] = ()
) -> list[Row]:
    """Return one row a group, dearest first, and one for the unsalvageable chips if there are any.

    `alone_steps` is what its chips would be retrained for each on its own, and `share_saved` what
    the group saves of that; None where that is nothing or the group is beyond the resilience map.
    Prices are those of the rules, and may hold a price a model. `trained_steps` and `topped_up` are
    None before there are `models`. A plan until the constraint is met has none of those costs.
    """
    maps = {chip.chip_id: chip.fault_map for chip in chips}
    rows: list[Row] = []
    for index, group in enumerate(plan.groups):
        costs = [] if plan.until_met else [cost(maps[name]) for name in group.members]
        rows.append(
            {
                "group": group_name(index),
                "chips": len(group.members),
                "fused_rate": group.fused.fault_rate,
                "amount_steps": group.amount_steps if group.amount_steps < math.inf else None,
                "trained_steps": models[index].carried_steps if models else None,
                "topped_up": models[index].topped_up if models else None,
                **_cost_cells(plan, group, costs),
                "members": ";".join(group.members),
            }
        )
    if plan.unsalvageable:
        lost = dict.fromkeys(GROUP_COLUMNS)
        count, members = len(plan.unsalvageable), ";".join(plan.unsalvageable)
        rows.append({**lost, "group": "unsalvageable", "chips": count, "members": members})
    return rows


def _cost_cells(plan: Plan, group: Group, costs: Sequence[float]) -> Row:
    """Return what a group costs beside its chips one by one, whose amounts are `costs`."""
    if not costs:
        return dict.fromkeys(("alone_steps", "price", "price_alone", "share_saved"))
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
