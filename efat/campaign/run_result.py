"""A finished run as one typed value, and its files."""

from __future__ import annotations

import contextlib
import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from efat.campaign.experiment import Amounts, Experiment
from efat.campaign.outcome import Outcome, StrategyResult, build_outcome
from efat.campaign.results import Analysis
from efat.campaign.stages import cost
from efat.campaign.tables import ChipResult, GroupResult, Row, group_name, group_results
from efat.campaign.walk import State, known
from efat.errors import EfatError
from efat.hardware import Chip, SystolicArray
from efat.hardware.fleets import load_fleet
from efat.io import write_csv, write_json
from efat.planning import Plan, Rules
from efat.resilience import Interpolation, Metric, ResilienceCurve, ResilienceMap, Severity

VERSION = 2
"""Of `summary.json`; a run of another version is refused."""

NEEDED = ("summary.json", "plan.json", "chips.csv", "groups.csv", "fleet.npz")
ANALYSED = ("resilience_map.json", "curves.csv")
"""Needed too, unless no strategy of the run needed an analysis."""

Typed = TypeVar("Typed")


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


def finite_or_none(value: float) -> float | None:
    """Return None for infinity and NaN, which JSON and CSV cannot hold."""
    return value if math.isfinite(value) else None


def write_outcome(
    folder: Path, outcome: Outcome, metric: Metric, amounts: Amounts, settings: Settings
) -> None:
    """Write `chips.csv` and `summary.json`."""
    write_csv(folder / "chips.csv", [asdict(row) for row in outcome.chips])
    summary = {
        "version": VERSION,
        **asdict(replace(outcome, chips=())),
        "metric": asdict(metric),
        "amounts": asdict(amounts),
        "settings": asdict(settings),
    }
    del summary["chips"]
    write_json(folder / "summary.json", summary)


def write_plan(folder: Path, plan: PlanResult) -> None:
    """Write `plan.json`."""
    write_json(folder / "plan.json", asdict(plan))


def write_groups(folder: Path, groups: Iterable[GroupResult]) -> None:
    """Write `groups.csv`."""
    write_csv(folder / "groups.csv", [asdict(row) for row in groups])


def write_curves(folder: Path, curves: Iterable[ResilienceCurve], amounts: Amounts) -> None:
    """Write `curves.csv`: one row per point of a curve."""
    rows = [
        {
            "fault_rate": curve.fault_rate,
            "repeat": curve.repeat,
            "severity": curve.severity,
            "amount_steps": step,
            "amount_epochs": step / amounts.steps_per_epoch,
            "val_metric": finite_or_none(value),
        }
        for curve in curves
        for step, value in zip(curve.amount_steps, curve.metric, strict=True)
    ]
    write_csv(folder / "curves.csv", rows)


def _needed(folder: Path) -> tuple[str, ...]:
    """Return the files without which there is no result."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # named by who reads it
        if _json(folder / "summary.json")["analysis"] is None:
            return NEEDED
    return (*NEEDED, *ANALYSED)


def _read(folder: Path) -> RunResult:
    summary = _json(folder / "summary.json")
    version = summary.pop("version", 1)
    if version != VERSION:
        raise EfatError(
            f"runs: {folder} is of version {version}, this efat reads version {VERSION}; run its "
            "command again for a new folder"
        )
    metric = _typed(Metric, summary.pop("metric"))
    amounts = _typed(Amounts, summary.pop("amounts"))
    settings = _typed(Settings, summary.pop("settings"))
    chips = [_cells(ChipResult, row) for row in _rows(folder / "chips.csv")]
    outcome = _typed(Outcome, {**summary, "chips": chips})
    analysed = outcome.analysis is not None
    fused, config = folder / "fused_maps.npz", folder / "config.yaml"
    made = folder / "provenance.json"
    return RunResult(
        folder=folder,
        outcome=outcome,
        metric=metric,
        amounts=amounts,
        settings=settings,
        plan=_typed(PlanResult, _json(folder / "plan.json")),
        groups=tuple(
            _typed(GroupResult, _cells(GroupResult, row)) for row in _rows(folder / "groups.csv")
        ),
        curves=tuple(_curves(folder, metric)) if analysed else (),
        map=_typed(MapResult, _json(folder / "resilience_map.json")) if analysed else None,
        maps=load_fleet(folder / "fleet.npz").chips,
        fused=load_fleet(fused).chips if fused.exists() else (),
        layers=_numbers(folder / "layers.csv"),
        units=_numbers(folder / "units.csv"),
        provenance=_json(made) if made.exists() else {},
        config=config.read_text() if config.exists() else "",
    )


def _typed(kind: type[Typed], value: Any) -> Typed:
    """Build a dataclass from JSON, by the types of its fields."""
    return TypeAdapter(kind).validate_python(value)


def _cells(kind: type[Any], row: dict[str, str]) -> dict[str, str | None]:
    """Return a row of a CSV for `kind`: an empty cell is None, unless the field is a text."""
    texts = {each.name for each in fields(kind) if each.type == "str"}
    return {name: cell if cell or name in texts else None for name, cell in row.items()}


def _curves(folder: Path, metric: Metric) -> Iterable[ResilienceCurve]:
    rows = _numbers(folder / "curves.csv")
    for (rate, repeat), points in groupby(rows, lambda row: (row["fault_rate"], row["repeat"])):
        curve = list(points)
        yield ResilienceCurve(
            rate,
            int(repeat),
            curve[0]["severity"],
            tuple(int(row["amount_steps"]) for row in curve),
            tuple(math.nan if row["val_metric"] is None else row["val_metric"] for row in curve),
            metric.higher_is_better,
        )


def _json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def _rows(path: Path) -> list[dict[str, str]]:
    """Read a table; a missing file has no rows."""
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


TEXTS = ("layer", "stage", "key", "config", "host", "reason", "log", "state")


def _numbers(path: Path) -> tuple[Row, ...]:
    """Read a table of numbers; an empty cell is None, and columns of `TEXTS` stay texts."""
    return tuple(
        {name: text if name in TEXTS else _number(text) for name, text in row.items()}
        for row in _rows(path)
    )


def _number(text: str) -> float | str | None:
    if text == "":
        return None
    try:
        return float(text)
    except ValueError:
        return text


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
