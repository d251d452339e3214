"""Assign new chips to the models of a library, and train what is missing (`stage=assign`)."""

from __future__ import annotations

from dataclasses import replace

from efat.campaign import stages
from efat.campaign.library import Library, grow_library
from efat.campaign.results import Arrival, Evaluation, Measured, TrainedModel
from efat.campaign.tables import Row, measured_cells
from efat.campaign.walk import State, known
from efat.engine import Runner
from efat.errors import raise_problems
from efat.planning import Assignment, Group, Plan, assign
from efat.training import Weights

NAME = "assign"
"""Strategy name of the models that `stage=assign` retrains."""


def place(state: State, library: Library) -> Arrival:
    """Assign the fleet's chips to the models of the library, at the lowest price.

    Raises:
        EfatError: No room under `rules.max_groups`.
    """
    experiment = state.experiment
    cost = stages.cost(experiment, state.resilience_map, known(state.severity))
    assigned = assign(experiment.fleet.chips, library.models, cost, experiment.rules)
    groups = tuple(
        Group(model.members, model.fused, experiment.rules.amount(cost(model.fused)))
        for model in assigned.library
        if not model.finished
    )
    names = tuple(map(library.name_at, range(len(assigned.library))))
    return Arrival(assigned, Plan(groups, assigned.unsalvageable, experiment.rules), names)


def train(
    state: State, runner: Runner, library: Library, arrival: Arrival
) -> tuple[Library, dict[str, TrainedModel]]:
    """Train the missing models; return the grown library and the new models by name.

    Raises:
        EfatError: A training diverged; the library stays as it was.
    """
    experiment, plans = state.experiment, {NAME: arrival.plan}
    models = stages.retrain(experiment, runner, known(state.baseline), plans)[NAME]
    raise_problems(
        f"training: diverged for {', '.join(model.group.members)}; use a lower learning rate "
        "(training.optimizer.lr)"
        for model in models
        if model.diverged
    )
    trained = {m.group.fused.key: (m.amount_steps, m.weights) for m in models}
    grown = grow_library(library, arrival.assignment, experiment.fleet.chips, trained)
    names = {entry.model.fused.key: entry.model.name for entry in grown.entries}
    return grown, {names[model.group.fused.key]: model for model in models}


def as_trained(arrival: Arrival, library: Library) -> Arrival:
    """Return the arrival with the retraining amounts that its models got in the end."""
    amounts = {entry.model.fused.key: entry.amount_steps for entry in library.entries}
    groups = [replace(g, amount_steps=amounts[g.fused.key]) for g in arrival.plan.groups]
    return replace(arrival, plan=replace(arrival.plan, groups=tuple(groups)))


def evaluate(state: State, runner: Runner, library: Library, arrival: Arrival) -> Evaluation:
    """Measure each chip with its own fault map and the model assigned to it."""
    serving = _serving(arrival.assignment)
    models = tuple(
        TrainedModel(
            Group(chips, entry.model.fused, entry.amount_steps), 0, _weights(entry.weights), 0.0
        )
        for index, entry in enumerate(library.entries)
        if (chips := tuple(name for name, row in serving.items() if row == index))
    )
    return stages.evaluate(state.experiment, runner, known(state.baseline), {NAME: models})


def _weights(weights: Weights | None) -> Weights:
    assert weights is not None  # noqa: S101 - `train` trained every model; for mypy
    return weights


def _serving(assignment: Assignment) -> dict[str, int]:
    """Return the index in the library of each chip's model."""
    rows = {model.name: row for row, model in enumerate(assignment.library)}
    return {placement.chip: rows[placement.model] for placement in assignment.placements}


def arrival_rows(state: State, arrival: Arrival, evaluation: Evaluation) -> list[Row]:
    """Return one row per chip, in the fleet's order; unsalvageable chips have no model."""
    experiment, severity = state.experiment, known(state.severity)
    constraint = experiment.selection.constraint
    targets = Measured(state.target, constraint.target(evaluation.baseline.test))
    serving = _serving(arrival.assignment)
    verification = experiment.verification(evaluation.test_samples)
    placed = {placement.chip: placement for placement in arrival.assignment.placements}
    to_train = {group.fused.key: group.amount_steps for group in arrival.plan.groups}
    rows: list[Row] = []
    for chip in experiment.fleet:
        name = chip.chip_id
        placement = placed.get(name)
        model = arrival.assignment.library[serving[name]] if placement else None
        before, now = evaluation.before[name], evaluation.after[NAME][name]
        rows.append(
            {
                "chip_id": name,
                "fault_rate": chip.fault_map.fault_rate,
                "severity": severity(chip.fault_map),
                "action": placement.how if placement else "unsalvageable",
                "model": arrival.names[serving[name]] if placement else "",
                "price": placement.price if placement else None,
                "model_steps": to_train.get(model.fused.key, 0) if model else None,
                **measured_cells(verification, before, now, targets),
            }
        )
    return rows
