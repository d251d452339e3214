"""The files of one run, in its folder, each written whole."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from efat.campaign import (
    Analysis,
    Arrival,
    Experiment,
    Row,
    TrainedModel,
    group_name,
    library_from_plan,
    write_library,
)
from efat.campaign.run_files import write_curves, write_groups, write_plan
from efat.campaign.run_parts import MapResult, PlanResult, finite_or_none
from efat.campaign.run_result import RunResult
from efat.campaign.tables import GroupResult
from efat.engine import Record, Store
from efat.hardware import Chip, Fleet
from efat.hardware.fleets import FleetSummary, fleet_hash, save_fleet, summarise
from efat.io import write_bytes, write_csv, write_json
from efat.planning import Plan
from efat.reporting.figures import resilience as plots
from efat.reporting.figures.fleet import draw_summary
from efat.reporting.figures.plan import draw_groups, draw_history, draw_overlaps, draw_rewards
from efat.reporting.provenance import describe_provenance
from efat.reporting.pruned_weights import layer_rows
from efat.reporting.unit_table import unit_rows
from efat.resilience import ResilienceCurve, Severity


@dataclass(frozen=True)
class RunFolder:
    """Write the results of `experiment` into `path`; one method per stage."""

    path: Path
    experiment: Experiment

    def write_curves(self, curves: tuple[ResilienceCurve, ...], target: float) -> None:
        """Write `curves.csv` and its figures, over amounts and over fault rates."""
        amounts = self.experiment.amounts
        write_curves(self.path, curves, amounts)
        shown = (curves, amounts.steps_per_epoch, target, self.experiment.metric)
        self._write_figure("curves", plots.plot_curves(*shown))
        self._write_figure("fault_rates", plots.plot_fault_rates(*shown))

    def write_map(self, analysis: Analysis, severity: Severity, plan: Plan | None = None) -> None:
        """Write `resilience_map.json` and its figure, with fused groups once there is a plan."""
        document = asdict(MapResult.of(self.experiment, analysis))
        write_json(self.path / "resilience_map.json", document)
        figure = plots.plot_resilience_map(self.experiment, analysis, severity, plan)
        self._write_figure("resilience_map", figure)

    def write_fleet(self, plan: Plan | None = None) -> FleetSummary:
        """Write `fleet.npz`, `fleet.json` and its figure; with a map, its unsalvageable chips."""
        fleet = self.experiment.fleet
        lost = None if plan is None or plan.until_met else plan.unsalvageable
        summary = replace(summarise(fleet), unsalvageable=lost)
        save_fleet(fleet, self.path / "fleet.npz")
        write_json(self.path / "fleet.json", asdict(summary))
        self._write_figure("fleet", draw_summary(fleet, summary))
        return summary

    def write_plan(self, plan: Plan, groups: Sequence[GroupResult], severity: Severity) -> None:
        """Write `plan.json`, `groups.csv`, the groups' fault maps (`fused_maps.npz`) and figures.

        A plan until the constraint is met has no figures: nothing is fused, no amount is known.
        """
        write_plan(self.path, PlanResult.of(self.experiment.planner_name, plan, severity))
        write_groups(self.path, groups)
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

    def write_library(
        self, plan: Plan, store: Store, models: tuple[TrainedModel, ...] = ()
    ) -> None:
        """Write `library.json`, to which `stage=assign` adds; its models still to be trained."""
        write_library(self.path, library_from_plan(self.experiment, plan, models), None, store)

    def write_models(self, store: Store, models: tuple[TrainedModel, ...]) -> None:
        """Write one checkpoint per group, `models/<group>.safetensors`, unless it diverged."""
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
            "price": finite_or_none(arrival.assignment.price),
            "trained_steps": finite_or_none(arrival.plan.total_steps),
            "unsalvageable": list(arrival.assignment.unsalvageable),
            "chips": [{name: _cell(value) for name, value in row.items()} for row in chips],
        }
        write_json(self.path / "assignment.json", document)

    def write_result(self, result: RunResult) -> None:
        """Write the files of the results, and the figure of the strategies."""
        result.save(self.path)
        self._write_figure("strategies", plots.plot_strategies(result.outcome))

    def write_layers(self, plan: Plan, store: Store, models: tuple[TrainedModel, ...]) -> None:
        """Write `layers.csv`: how much of each layer is pruned, if anything is."""
        rows = layer_rows(self.experiment, store, plan, models)
        if rows:
            write_csv(self.path / "layers.csv", rows)

    def write_provenance(self, command: str, begun: str) -> None:
        """Write `provenance.json`: how the run was made."""
        document = describe_provenance(self.experiment, command, begun)
        document["fleet_sha256"] = fleet_hash(self.experiment.fleet)
        write_json(self.path / "provenance.json", document)

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


def _cell(value: Any) -> Any:
    return finite_or_none(value) if isinstance(value, float) else value
