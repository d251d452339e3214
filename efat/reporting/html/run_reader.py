"""A finished run, read from its folder."""

from __future__ import annotations

import contextlib
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efat.errors import EfatError
from efat.hardware import Chip
from efat.hardware.fleets import load_fleet
from efat.resilience import Metric

Row = dict[str, Any]

NEEDED = ("summary.json", "plan.json", "chips.csv", "groups.csv", "fleet.npz")
ANALYSED = ("resilience_map.json", "curves.csv")
"""Needed too, unless no strategy of the run needed an analysis."""


@dataclass(frozen=True)
class FinishedRun:
    """What a campaign left; rows of tables hold numbers, booleans, texts and None.

    Args:
        folder: Where.
        summary: Costs and results, as in `summary.json`.
        resilience_map: As in `resilience_map.json`; empty where nothing was analysed.
        plan: As in `plan.json`.
        chips: One row a chip.
        groups: One row a group.
        curves: One row a point of a resilience curve; none where nothing was analysed.
        layers: One row a weight tensor; empty where none is pruned.
        units: One row a unit of work.
        made: How it was made (`made.json`).
        config: `config.yaml`, as text.
        maps: Fault maps of the chips.
        fused: Fault maps of the groups.
    """

    folder: Path
    summary: dict[str, Any]
    resilience_map: dict[str, Any]
    plan: dict[str, Any]
    chips: tuple[Row, ...]
    groups: tuple[Row, ...]
    curves: tuple[Row, ...]
    layers: tuple[Row, ...]
    units: tuple[Row, ...]
    made: dict[str, Any]
    config: str
    maps: tuple[Chip, ...]
    fused: tuple[Chip, ...]

    @property
    def made_lines(self) -> list[tuple[str, str]]:
        """How the run was made, a line each; without what does not apply."""
        flat: list[tuple[str, str]] = []
        for name, value in self.made.items():
            items = value.items() if isinstance(value, dict) else [("", value)]
            flat += [(f"{name} {part}".strip().replace("_", " "), item) for part, item in items]
        return [(name, str(item)) for name, item in flat if item is not None]

    @property
    def metric(self) -> Metric:
        """What the constraint is about."""
        return Metric(**self.summary["metric"])

    @property
    def chosen(self) -> dict[str, Any]:
        """The strategy that was carried out."""
        strategy: dict[str, Any] = self.summary["strategies"][0]
        return strategy

    @property
    def analysed(self) -> bool:
        """Whether there was a resilience analysis."""
        return bool(self.resilience_map)

    @property
    def until_met(self) -> bool:
        """Whether its chips were trained until they met the constraint, without planned amounts."""
        return bool(self.plan.get("until_met", False))

    @property
    def analysis_epochs(self) -> float:
        """What the analysis took, once a network."""
        analysis = self.summary["analysis"]
        return float(analysis["epochs"]) if analysis else 0.0

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps of an epoch."""
        return float(self._amounts["steps_per_epoch"])

    @property
    def eval_every_steps(self) -> int | None:
        """Steps between evaluations; None: a run of an earlier version, whose curves tell."""
        return self._amounts.get("eval_every_steps")

    @property
    def _amounts(self) -> dict[str, Any]:
        """Amounts of training; runs of earlier versions have them in the resilience map alone."""
        amounts: dict[str, Any] = self.summary.get("amounts") or self.resilience_map
        return amounts

    def once_epochs(self, strategy: dict[str, Any]) -> float:
        """Return the epochs spent once a network that a strategy makes use of."""
        analysed = strategy.get("needs_analysis", strategy["models"] > 0)
        hardened = self.hardening_epochs if strategy["models"] else 0.0
        return float(self.analysis_epochs * analysed + hardened)

    @property
    def hardening_epochs(self) -> float:
        """What hardening took, once a network."""
        hardening = self.summary.get("hardening")
        return float(hardening["epochs"]) if hardening else 0.0

    @property
    def spent_epochs(self) -> float:
        """All that was trained for the strategy that was carried out, planned groups or none."""
        analysis = 0.0 if self.until_met else self.analysis_epochs
        return float(self.chosen["retraining"]["epochs"] + analysis + self.hardening_epochs)

    @property
    def budget_epochs(self) -> float:
        """Most retraining that a chip may get, or the analysis looked at; curves may end before."""
        if "budget_steps" in self._amounts:
            return float(self._amounts["budget_steps"] / self.steps_per_epoch)
        return float(max(row["amount_epochs"] for row in self.curves))


def read_run(folder: Path) -> FinishedRun:
    """Read what a campaign left in its folder.

    Raises:
        EfatError: Files are missing or damaged; all of them are named.
    """
    missing = [name for name in _needed(folder) if not (folder / name).is_file()]
    if missing:
        raise EfatError(
            f"runs: {folder} given; no {', '.join(missing)} in it; name the folder of a run that "
            f"went through stage=evaluate{_suggest(folder)}"
        )
    try:
        run = _read(folder)
        run.metric, run.chosen, run.budget_epochs  # noqa: B018 - damage shows here, not later
        return run
    except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
        raise EfatError(
            f"runs: {folder} is damaged, or another version of efat made it "
            f"({type(error).__name__}: {error}); run its command again for a new folder"
        ) from None


def _needed(folder: Path) -> tuple[str, ...]:
    """Return the files without which there is no report."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # named by who reads it
        if _json(folder / "summary.json")["analysis"] is None:
            return NEEDED
    return (*NEEDED, *ANALYSED)


def _read(folder: Path) -> FinishedRun:
    fused = folder / "fused_maps.npz"
    config = folder / "config.yaml"
    summary = _json(folder / "summary.json")
    return FinishedRun(
        folder=folder,
        summary=summary,
        resilience_map=_json(folder / "resilience_map.json") if summary["analysis"] else {},
        plan=_json(folder / "plan.json"),
        chips=_rows(folder / "chips.csv"),
        groups=_rows(folder / "groups.csv"),
        curves=_rows(folder / "curves.csv"),
        layers=_rows(folder / "layers.csv"),
        units=_rows(folder / "units.csv"),
        made=_json(folder / "made.json") if (folder / "made.json").exists() else {},
        config=config.read_text() if config.exists() else "",
        maps=load_fleet(folder / "fleet.npz").chips,
        fused=load_fleet(fused).chips if fused.exists() else (),
    )


def _json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def _rows(path: Path) -> tuple[Row, ...]:
    """Read a table; a missing file has no rows."""
    if not path.exists():
        return ()
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return tuple({name: _value(name, text) for name, text in row.items()} for row in rows)


TEXTS = (
    "chip_id",
    "status",
    "group",
    "members",
    "layer",
    "stage",
    "key",
    "config",
    "host",
    "reason",
    "log",
)


def _value(name: str, text: str) -> Any:
    """Read a cell: names stay texts even where they look like numbers."""
    if name in TEXTS:
        return text
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    try:
        return float(text)
    except ValueError:
        return text


def _suggest(folder: Path) -> str:
    """Name the newest finished run near the folder that was given, if there is one."""
    near = (folder, folder.parent, Path("outputs"))
    found = {path.parent for place in near for deep in ("*", "*/*") for path in
             place.glob(f"{deep}/summary.json")}  # fmt: skip
    return f", such as runs=[{max(found, key=lambda path: path.name)}]" if found else ""
