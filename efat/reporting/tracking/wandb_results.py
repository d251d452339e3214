"""The results of a campaign in W&B's own types: tables, charts, images, artifacts."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from efat.campaign import Row
from efat.campaign.run_parts import finite_or_none
from efat.campaign.run_result import RunResult
from efat.campaign.tables import ChipResult
from efat.hardware import Chip
from efat.reporting.sentences import headline, strategy_rows
from efat.reporting.tracking.base import RunInfo

if TYPE_CHECKING:
    import wandb

THUMBNAILS = 200
"""Chips whose fault map is drawn in the table; further ones have none."""

LINEAGE = (
    ("fleet", (), "chips", ("fleet.npz", "fleet.json")),
    ("analyse", ("chips",), "curves", ("curves.csv",)),
    ("select", ("curves",), "map", ("resilience_map.json",)),
    ("plan", ("chips", "map"), "plan", ("plan.json", "groups.csv", "fused_maps.npz")),
    ("retrain", ("plan",), "models", ("models", "chips.csv")),
)
"""Stage, what it uses, what it makes, and the files of that."""

OF_MAP = ("curves", "map")
"""Artifacts that need a resilience map."""


def log_lineage(start: Callable[..., Any], run: RunResult, info: RunInfo) -> None:
    """Log what each stage made as an artifact, in a run that used those before it."""
    files = {made: names for _, _, made, names in LINEAGE if run.map or made not in OF_MAP}
    for stage, used, made, _ in LINEAGE:
        if made not in files:
            continue
        with start(f"stage-{stage}", f"{stage}-{info.group}"[:64], stage) as live:
            for name in filter(files.get, used):
                _use(live, _artifact(run, info, name, files[name]))
            live.log_artifact(_artifact(run, info, made, files[made]))


def _use(live: Any, artifact: wandb.Artifact) -> None:
    """Mark an artifact as what a run starts from, also offline.

    W&B's `use_artifact` refuses to work offline, though all it does with a new artifact is this
    call, which does (tested with wandb 0.19.11, 0.21.4, 0.25.1, 0.28.2 and 0.31.0).
    """
    if live.offline:
        live._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    else:
        live.use_artifact(artifact)


def _artifact(run: RunResult, info: RunInfo, kind: str, names: Sequence[str]) -> wandb.Artifact:
    """Collect files; equal ones are one version of an artifact, whoever logs them."""
    import wandb

    artifact = wandb.Artifact(f"{info.name}-{kind}", type=kind)
    for name in names:
        path = run.folder / name
        for file in sorted(path.glob("*")) if path.is_dir() else [path]:
            if file.exists():
                place = str(file.relative_to(run.folder))
                artifact.add_file(str(file), place, policy="immutable", skip_cache=True)
    return artifact


def log_results(live: Any, run: RunResult) -> None:
    """Log tables, charts and the verdict into the campaign's run."""
    import wandb

    chosen = run.chosen
    live.log(
        {
            "chips": _chip_table(run),
            "plan": _table([asdict(row) for row in run.groups]),
            "strategies": _table(strategy_rows(run)),
            "cost": wandb.plot.bar(
                _table(strategy_rows(run)), "strategy", "epochs", title="Epochs of retraining"
            ),
        }
        | (_of_map(run) if run.map else {})
        | {
            f"figures/{path.stem}": wandb.Image(str(path))
            for path in sorted((run.folder / "figures").glob("*.png"))
        }
    )
    live.summary.update(
        {
            "verdict": headline(run),
            "epochs": chosen.retraining.epochs,
            "models": chosen.models,
            "pass_val_share": chosen.pass_val / len(run.chips),
            "pass_test_share": chosen.pass_test / len(run.chips),
            "certified_share": _share(chosen.certified, len(run.chips)),
            "mean_test": chosen.mean_test,
            "worst_test": chosen.worst_test,
        }
    )
    if (run.folder / "report.html").exists():
        live.log({"report": wandb.Html((run.folder / "report.html").open(), inject=False)})


def _of_map(run: RunResult) -> dict[str, Any]:
    """Return what is logged of the analysis."""
    return {
        "resilience_map": _table(_map_rows(run)),
        "curves": _table(_curve_rows(run)),
        "resilience_heat_map": _heat_map(run),
    }


def _share(count: int | None, chips: int) -> float | None:
    """Return the share of chips; None: the metric has no interval, so that none is verified."""
    return None if count is None else count / chips


def _table(rows: Sequence[Row]) -> wandb.Table:
    import wandb

    columns: list[str | int] = [*rows[0]] if rows else []
    data = [list(row.values()) for row in rows]
    return wandb.Table(columns=columns, data=data)


def _map_rows(run: RunResult) -> list[Row]:
    assert run.map is not None  # noqa: S101 - logged only where something was analysed
    return [
        {"severity": s, "amount_steps": a, "amount_epochs": run.epochs(a)}
        for s, a in zip(run.map.severities, run.map.amounts_steps, strict=True)
    ]


def _curve_rows(run: RunResult) -> list[Row]:
    return [
        {
            "fault_rate": curve.fault_rate,
            "repeat": curve.repeat,
            "severity": curve.severity,
            "amount_epochs": run.epochs(steps),
            "val_metric": finite_or_none(value),
        }
        for curve in run.curves
        for steps, value in zip(curve.amount_steps, curve.metric, strict=True)
    ]


def _chip_table(run: RunResult) -> wandb.Table:
    """Return the table of chips, with a thumbnail of each fault map and why it has its model."""
    import wandb

    maps = {chip.chip_id: chip for chip in run.maps}
    columns = [each.name for each in fields(ChipResult)]
    table = wandb.Table(columns=["fault_map", "why", *columns])
    for index, chip in enumerate(run.chips):
        picture = wandb.Image(_thumbnail(maps[chip.chip_id])) if index < THUMBNAILS else None
        table.add_data(picture, _why(chip), *(getattr(chip, column) for column in columns))
    return table


def _why(chip: ChipResult) -> str:
    """Say which model a chip carries and why."""
    if not chip.group:
        reason = "" if chip.salvageable else "; no amount within the budget is known for it"
        return f"carries the fault-free network, masked{reason}"
    return (
        f"carries {chip.group}, whose fused fault map ({chip.fused_fault_rate:.1%} faulty) covers "
        f"its own ({chip.fault_rate:.1%}); shared by {chip.group_size} chips"
    )


def _thumbnail(chip: Chip) -> Any:
    """Draw a fault map, a pixel a PE, enlarged where that is tiny; dark: faulty."""
    import numpy as np
    from PIL import Image

    shades = np.where(chip.fault_map.faulty, 34, 240).astype(np.uint8)
    scale = max(1, 64 // max(shades.shape))
    return Image.fromarray(shades.repeat(scale, axis=0).repeat(scale, axis=1))


def _heat_map(run: RunResult) -> wandb.Image:
    """Draw the mean metric over fault rate and amount."""
    import wandb
    from matplotlib.figure import Figure
    from PIL import Image

    rates = sorted({curve.fault_rate for curve in run.curves})
    steps = sorted({step for curve in run.curves for step in curve.amount_steps})
    cells: dict[tuple[float, int], list[float]] = {}
    for curve in run.curves:
        for step, value in zip(curve.amount_steps, curve.metric, strict=True):
            if math.isfinite(value):
                cells.setdefault((curve.fault_rate, step), []).append(value)
    values = [[_mean(cells.get((rate, step), [])) for step in steps] for rate in rates]
    epochs = [step / run.amounts.steps_per_epoch for step in steps]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    picture = axes.pcolormesh(epochs, [f"{rate:.1%}" for rate in rates], values, cmap="cividis")
    figure.colorbar(picture, label=f"mean validation {run.metric.name}")
    axes.set_xlabel("retraining amount (epochs)")
    axes.set_ylabel("faulty PEs")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return wandb.Image(Image.open(stream))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
