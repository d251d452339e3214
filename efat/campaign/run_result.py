"""A finished run as one typed value."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from efat.campaign.experiment import Amounts
from efat.campaign.outcome import Outcome, StrategyResult, build_outcome
from efat.campaign.run_files import (
    VERSION,
    build_typed,
    cell_values,
    read_curves,
    read_json,
    read_numbers,
    read_rows,
    write_curves,
    write_groups,
    write_outcome,
    write_plan,
)
from efat.campaign.run_parts import MapResult, PlanResult, Settings
from efat.campaign.stages import cost
from efat.campaign.tables import ChipResult, GroupResult, Row, group_name, group_results
from efat.campaign.walk import State, known
from efat.errors import EfatError
from efat.hardware import Chip
from efat.hardware.fleets import load_fleet
from efat.io import write_json
from efat.resilience import Metric, ResilienceCurve

NEEDED = ("summary.json", "plan.json", "chips.csv", "groups.csv", "fleet.npz")
ANALYSED = ("resilience_map.json", "curves.csv")
"""Needed too, unless no strategy of the run needed an analysis."""


@dataclass(frozen=True)
class RunResult:
    """What a campaign left; the one source of everything that people are shown.

    Args:
        folder: Where its files are.
        outcome: Cost and results of every strategy, and one row per chip.
        metric: The metric of the constraint.
        amounts: Amounts of training.
        settings: Of the configuration.
        plan: The plan that was carried out.
        groups: One row per group.
        curves: Of the resilience analysis; none where nothing was analysed.
        map: The resilience map; None where nothing was analysed.
        maps: Fault maps of the chips.
        fused: Fused fault maps of the groups.
        layers: One row per weight tensor that is pruned.
        units: One row per unit of work.
        provenance: How the run was made.
        config: `config.yaml`, as text.
    """

    folder: Path
    outcome: Outcome
    metric: Metric
    amounts: Amounts
    settings: Settings
    plan: PlanResult
    groups: tuple[GroupResult, ...]
    curves: tuple[ResilienceCurve, ...]
    map: MapResult | None
    maps: tuple[Chip, ...]
    fused: tuple[Chip, ...] = ()
    layers: tuple[Row, ...] = ()
    units: tuple[Row, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    config: str = ""

    @classmethod
    def of(cls, state: State, folder: Path) -> RunResult:
        """Collect the results of a campaign that went through `evaluate`."""
        experiment, plan, severity = state.experiment, state.plan, known(state.severity)
        price = cost(experiment, state.resilience_map, severity)
        return cls(
            folder=folder,
            outcome=build_outcome(state),
            metric=experiment.metric,
            amounts=experiment.amounts,
            settings=Settings.of(experiment),
            plan=PlanResult.of(experiment.planner_name, plan, severity),
            groups=group_results(plan, experiment.fleet.chips, price, state.carried),
            curves=state.analysis.curves if state.analysis else (),
            map=MapResult.of(experiment, state.analysis) if state.analysis else None,
            maps=experiment.fleet.chips,
            fused=tuple(Chip(group_name(i), g.fused) for i, g in enumerate(plan.groups)),
            provenance={"name": experiment.name},
        )

    @property
    def name(self) -> str:
        """Name of the campaign."""
        return str(self.provenance.get("name", self.folder.name))

    @property
    def chips(self) -> tuple[ChipResult, ...]:
        """One row per chip."""
        return self.outcome.chips

    @property
    def strategies(self) -> tuple[StrategyResult, ...]:
        """The strategy that was carried out, first, and those it is compared with."""
        return self.outcome.strategies

    @property
    def chosen(self) -> StrategyResult:
        """The strategy that was carried out."""
        return self.outcome.strategies[0]

    @property
    def until_met(self) -> bool:
        """Whether chips were trained until they met the constraint, without planned amounts."""
        return self.plan.until_met

    @property
    def analysis_epochs(self) -> float:
        """Epochs of the resilience analysis, spent once per network."""
        return self.outcome.analysis.epochs if self.outcome.analysis else 0.0

    @property
    def hardening_epochs(self) -> float:
        """Epochs of hardening, spent once per network."""
        return self.outcome.hardening.epochs if self.outcome.hardening else 0.0

    @property
    def spent_epochs(self) -> float:
        """All epochs spent for the strategy that was carried out, planned groups or none."""
        analysis = 0.0 if self.until_met else self.analysis_epochs
        return self.chosen.retraining.epochs + analysis + self.hardening_epochs

    @property
    def budget_epochs(self) -> float:
        """Largest retraining amount of a chip or curve; curves may end earlier."""
        return self.amounts.budget_steps / self.amounts.steps_per_epoch

    def epochs(self, steps: float | None) -> float | None:
        """Convert steps; None for what is beyond the resilience map."""
        finite = steps is not None and math.isfinite(steps)
        return steps / self.amounts.steps_per_epoch if finite and steps is not None else None

    @property
    def planned_groups(self) -> tuple[GroupResult, ...]:
        """The groups of the plan, without the row of unsalvageable chips."""
        return tuple(row for row in self.groups if row.group != "unsalvageable")

    @property
    def crossings(self) -> tuple[tuple[float, float | None], ...]:
        """Severity of each curve, and epochs at which it first meets the constraint or None."""
        if self.map is None:
            return ()
        target, sustained = self.map.target, self.map.sustained
        return tuple((c.severity, self.epochs(c.crossing(target, sustained))) for c in self.curves)

    @property
    def chips_beyond(self) -> int:
        """Chips beyond the map: unsalvageable, unless they were trained without it."""
        if self.map is None or not self.until_met:
            return len(self.outcome.unsalvageable)
        amount = self.map.resilience_map.amount
        return sum(math.isinf(amount(chip.severity)) for chip in self.chips)

    @property
    def early_ends(self) -> tuple[ResilienceCurve, ...]:
        """Curves that ended before the budget, or at amount 0, since they met the constraint."""
        budget = self.amounts.budget_steps
        return tuple(c for c in self.curves if c.amount_steps[-1] < budget or not budget)

    def members_of(self, groups: Sequence[str]) -> list[str]:
        """Return the chips of each group, joined by `;`."""
        members = {row.group: row.members for row in self.groups}
        return [members[group] for group in groups]

    @property
    def made_lines(self) -> list[tuple[str, str]]:
        """How the run was made, one line each; without what does not apply."""
        flat: list[tuple[str, str]] = []
        for name, value in self.provenance.items():
            items = value.items() if isinstance(value, dict) else [("", value)]
            flat += [(f"{name} {part}".strip().replace("_", " "), item) for part, item in items]
        return [(name, str(item)) for name, item in flat if item is not None]

    def save(self, folder: Path | str) -> None:
        """Write the files of the results: summary, plan, chips, groups, curves, resilience map."""
        folder = Path(folder)
        write_outcome(folder, self.outcome, self.metric, self.amounts, self.settings)
        write_plan(folder, self.plan)
        write_groups(folder, self.groups)
        if self.map is not None:
            write_curves(folder, self.curves, self.amounts)
            write_json(folder / "resilience_map.json", asdict(self.map))

    @classmethod
    def load(cls, folder: Path | str) -> RunResult:
        """Read what a campaign left in its folder.

        Raises:
            EfatError: Files are missing, damaged or of another version; all of them are named.
        """
        folder = Path(folder)
        missing = [name for name in _needed(folder) if not (folder / name).is_file()]
        if missing:
            raise EfatError(
                f"runs: {folder} given; no {', '.join(missing)} in it; name the folder of a run "
                f"that went through stage=evaluate{_suggest(folder)}"
            )
        try:
            return _read(folder)
        except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise EfatError(
                f"runs: {folder} is damaged, or another version of efat made it "
                f"({type(error).__name__}: {reason}); run its command again for a new folder"
            ) from None


def _needed(folder: Path) -> tuple[str, ...]:
    """Return the files without which there is no result."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # named by who reads it
        if read_json(folder / "summary.json")["analysis"] is None:
            return NEEDED
    return (*NEEDED, *ANALYSED)


def _read(folder: Path) -> RunResult:
    summary = read_json(folder / "summary.json")
    version = summary.pop("version", 1)
    if version != VERSION:
        raise EfatError(
            f"runs: {folder} is of version {version}, this efat reads version {VERSION}; run its "
            "command again for a new folder"
        )
    metric = build_typed(Metric, summary.pop("metric"))
    amounts = build_typed(Amounts, summary.pop("amounts"))
    settings = build_typed(Settings, summary.pop("settings"))
    chips = [cell_values(ChipResult, row) for row in read_rows(folder / "chips.csv")]
    outcome = build_typed(Outcome, {**summary, "chips": chips})
    analysed = outcome.analysis is not None
    fused, config = folder / "fused_maps.npz", folder / "config.yaml"
    made = folder / "provenance.json"
    return RunResult(
        folder=folder,
        outcome=outcome,
        metric=metric,
        amounts=amounts,
        settings=settings,
        plan=build_typed(PlanResult, read_json(folder / "plan.json")),
        groups=tuple(
            build_typed(GroupResult, cell_values(GroupResult, row))
            for row in read_rows(folder / "groups.csv")
        ),
        curves=tuple(read_curves(folder, metric)) if analysed else (),
        map=build_typed(MapResult, read_json(folder / "resilience_map.json")) if analysed else None,
        maps=load_fleet(folder / "fleet.npz").chips,
        fused=load_fleet(fused).chips if fused.exists() else (),
        layers=read_numbers(folder / "layers.csv"),
        units=read_numbers(folder / "units.csv"),
        provenance=read_json(made) if made.exists() else {},
        config=config.read_text() if config.exists() else "",
    )


def _suggest(folder: Path) -> str:
    """Name the newest finished run near the folder that was given, if there is one."""
    near = (folder, folder.parent, Path("outputs"))
    runs = {
        path.parent
        for place in near
        for deep in ("*", "*/*")
        for path in place.glob(f"{deep}/summary.json")
    }
    return f", such as runs=[{max(runs, key=lambda path: path.name)}]" if runs else ""
