"""The files of one run, in its folder, each written whole."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from efat.campaign import (
    Analysis,
    Arrival,
    Experiment,
    Outcome,
    Row,
    TrainedModel,
    group_name,
    library_from_plan,
    write_library,
)
from efat.engine import Record, Store
from efat.hardware import Chip, Fleet
from efat.hardware.fleets import FleetSummary, fleet_hash, save_fleet, summarise
from efat.io import write_bytes, write_csv, write_json
from efat.planning import Group, Plan
from efat.reporting.figures import resilience as plots
from efat.reporting.figures.fault_rates import draw_fault_rates
from efat.reporting.figures.fleet import draw_summary
from efat.reporting.figures.plan import draw_groups, draw_history, draw_overlaps, draw_rewards
from efat.reporting.provenance import describe_run
from efat.reporting.pruned_weights import layer_rows
from efat.reporting.unit_table import unit_rows
from efat.resilience import ResilienceCurve, Severity


@dataclass(frozen=True)
class RunFolder:
    """Write the results of `experiment` into `path`; one method a stage."""

    path: Path
    experiment: Experiment

    def write_curves(self, curves: tuple[ResilienceCurve, ...], target: float) -> None:
        """Write `curves.csv` and its figures, over amounts and over fault rates."""
        rows = _curve_rows(self.experiment, curves)
        write_csv(self.path / "curves.csv", rows)
        shown = (curves, self.experiment.amounts.steps_per_epoch, target, self.experiment.metric)
        self._write_figure("curves", plots.plot_curves(*shown))
        self._write_figure("fault_rates", draw_fault_rates(*shown))

    def write_map(self, analysis: Analysis, severity: Severity, plan: Plan | None = None) -> None:
        """Write `resilience_map.json` and its figure, with fused groups once there is a plan."""
        document = _map_document(self.experiment, analysis)
        write_json(self.path / "resilience_map.json", document)
        figure = plots.plot_resilience_map(self.experiment, analysis, severity, plan)
        self._write_figure("resilience_map", figure)

    def write_fleet(self, plan: Plan | None = None) -> FleetSummary:
        """Write `fleet.npz`, `fleet.json` and its figure; with a map, who is unsalvageable."""
        fleet = self.experiment.fleet
        lost = None if plan is None or plan.until_met else plan.unsalvageable
        summary = replace(summarise(fleet), unsalvageable=lost)
        save_fleet(fleet, self.path / "fleet.npz")
        write_json(self.path / "fleet.json", asdict(summary))
        self._write_figure("fleet", draw_summary(fleet, summary))
        return summary

    def write_plan(self, plan: Plan, groups: list[Row], severity: Severity) -> None:
        """Write `plan.json`, `groups.csv`, the groups' maps (`fused_maps.npz`) and figures.

        A plan until the constraint is met has no figures: nothing is fused, no amount is known.
        """
        name = self.experiment.planner_name
        document = _plan_document(name, plan, severity)
        write_json(self.path / "plan.json", document)
        self.write_groups(groups)
        fused = [Chip(group_name(i), g.fused) for i, g in enumerate(plan.groups)]
        if fused:
            save_fleet(Fleet(tuple(fused)), self.path / "fused_maps.npz")
        if fused and not plan.until_met:
            self._write_figure("fault_maps", plots.plot_fault_maps(self.experiment.fleet, plan))
            epoch = self.experiment.amounts.steps_per_epoch
            self._write_figure("groups", draw_groups(plan, self.experiment.fleet.chips, epoch))
            self._write_figure("merges", draw_history(plan))
            self._write_figure("rewards", draw_rewards(plan, epoch))
            self._write_figure("overlaps", draw_overlaps(plan, self.experiment.fleet.chips))

    def write_groups(self, groups: list[Row]) -> None:
        """Write `groups.csv`, again once it is known for how long each was trained."""
        write_csv(self.path / "groups.csv", groups)

    def write_library(
        self, plan: Plan, store: Store, models: tuple[TrainedModel, ...] = ()
    ) -> None:
        """Write `library.json`, to which `stage=assign` adds; its models still to be trained."""
        write_library(self.path, library_from_plan(self.experiment, plan, models), None, store)

    def write_models(self, store: Store, models: tuple[TrainedModel, ...]) -> None:
        """Write one checkpoint a group, `models/<group>.safetensors`, unless it diverged."""
        for index, model in enumerate(models):
            if model.diverged:
                continue
            weights = store.path(*model.weights, ".safetensors").read_bytes()
            target = self.path / "models" / f"{group_name(index)}.safetensors"
            write_bytes(target, weights)

    def write_assignment(self, library: Path, arrival: Arrival, chips: list[Row]) -> None:
        """Write `assignment.csv` and `assignment.json`."""
        write_csv(self.path / "assignment.csv", chips)
        document = {
            "library": str(library),
            "models": len(arrival.assignment.library),
            "price": _finite_or_none(arrival.assignment.price),
            "trained_steps": _finite_or_none(arrival.plan.total_steps),
            "unsalvageable": list(arrival.assignment.unsalvageable),
            "chips": [{name: _cell(value) for name, value in row.items()} for row in chips],
        }
        write_json(self.path / "assignment.json", document)

    def write_outcome(self, outcome: Outcome) -> None:
        """Write `chips.csv`, `summary.json` and the figure of the strategies."""
        write_csv(self.path / "chips.csv", outcome.chips)
        summary = {name: value for name, value in asdict(outcome).items() if name != "chips"}
        summary["metric"] = asdict(self.experiment.metric)
        summary["amounts"] = asdict(self.experiment.amounts)
        write_json(self.path / "summary.json", summary)
        self._write_figure("strategies", plots.plot_strategies(outcome, len(outcome.chips)))

    def write_layers(self, plan: Plan, store: Store, models: tuple[TrainedModel, ...]) -> None:
        """Write `layers.csv`: how much of each layer is pruned, if anything is."""
        rows = layer_rows(self.experiment, store, plan, models)
        if rows:
            write_csv(self.path / "layers.csv", rows)

    def write_provenance(self, command: str, begun: str) -> None:
        """Write `made.json`: how the run was made."""
        document = describe_run(self.experiment, command, begun)
        document["fleet_sha256"] = fleet_hash(self.experiment.fleet)
        write_json(self.path / "made.json", document)

    def write_units(self, records: Iterable[Record], store: Store) -> None:
        """Write `units.csv`, also of a campaign that was stopped or failed."""
        rows = unit_rows(records, store)
        if rows:
            write_csv(self.path / "units.csv", rows)

    def _write_figure(self, name: str, figure: Figure) -> None:
        """Write a figure for the screen (PNG), for pages (SVG) and for papers (PDF)."""
        figure.set_dpi(150)
        figure.draw_without_rendering()  # lays it out, once for all three: half of the time
        figure.set_layout_engine("none")
        for kind in ("png", "svg", "pdf"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi="figure")
            write_bytes(self.path / "figures" / f"{name}.{kind}", buffer.getvalue())


def _curve_rows(experiment: Experiment, curves: Iterable[ResilienceCurve]) -> list[Row]:
    """Return one row a point of a curve."""
    return [
        {
            "fault_rate": curve.fault_rate,
            "repeat": curve.repeat,
            "severity": curve.severity,
            "amount_steps": step,
            "amount_epochs": step / experiment.amounts.steps_per_epoch,
            "val_metric": _finite_or_none(value),
        }
        for curve in curves
        for step, value in zip(curve.amount_steps, curve.metric, strict=True)
    ]


def _map_document(experiment: Experiment, analysis: Analysis) -> Row:
    """Return the resilience map as JSON holds it; an amount never reached is null."""
    resilience_map = analysis.resilience_map
    return {
        "metric": experiment.metric.name,
        "target": resilience_map.target,
        "severity": experiment.severity_name,
        "interpolation": resilience_map.interpolation,
        "stat": experiment.selection.stat,
        "monotone": experiment.selection.monotone,
        "sustained": experiment.selection.sustained,
        "max_severity": resilience_map.max_severity,
        "steps_per_epoch": experiment.amounts.steps_per_epoch,
        "budget_steps": experiment.amounts.budget_steps,
        "fault_rates": list(analysis.fault_rates),
        "cut_short": analysis.cut_short,
        "severities": list(resilience_map.severities),
        "amounts_steps": [_finite_or_none(a) for a in resilience_map.amounts_steps],
    }


def _plan_document(name: str, plan: Plan, severity: Severity) -> Row:
    """Return a plan as JSON holds it."""
    return {
        "planner": name,
        "total_steps": _finite_or_none(plan.total_steps),
        "rules": asdict(plan.rules),
        "price": None if plan.until_met else _finite_or_none(plan.price),
        "bound": None if plan.until_met else plan.bound,
        "gap": None if plan.until_met else plan.gap,
        "until_met": plan.until_met,
        "unsalvageable": list(plan.unsalvageable),
        "groups": [
            {"group": group_name(index), **_group_row(group, severity)}
            for index, group in enumerate(plan.groups)
        ],
    }


def _group_row(group: Group, severity: Severity) -> Row:
    return {
        "members": list(group.members),
        "fused_fault_rate": group.fused.fault_rate,
        "severity": severity(group.fused),
        "amount_steps": _finite_or_none(group.amount_steps),
        "fused_map_sha256": group.fused.key,
    }


def _cell(value: Any) -> Any:
    return _finite_or_none(value) if isinstance(value, float) else value


def _finite_or_none(value: float) -> float | None:
    """Return None for infinity and NaN, which JSON and CSV cannot hold."""
    return value if math.isfinite(value) else None
