"""The results of a campaign in W&B's own types: tables, charts, images, artifacts."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import efat.reporting.html.summary_text as verdict
from efat.hardware import Chip
from efat.reporting.html.run_reader import FinishedRun, Row
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
"""What is not made where no strategy needs a resilience map."""


def log_lineage(start: Callable[..., Any], run: FinishedRun, scene: RunInfo) -> None:
    """Log what each stage made as an artifact, in a run that used those before it."""
    files = {made: names for _, _, made, names in LINEAGE if run.analysed or made not in OF_MAP}
    for stage, used, made, _ in LINEAGE:
        if made not in files:
            continue
        with start(f"stage-{stage}", f"{stage}-{scene.group}"[:64], stage) as live:
            for name in filter(files.get, used):
                _use(live, _artifact(run, scene, name, files[name]))
            live.log_artifact(_artifact(run, scene, made, files[made]))


def _use(live: Any, artifact: wandb.Artifact) -> None:
    """Mark an artifact as what a run starts from, also offline.

    W&B's `use_artifact` refuses to work offline, though all it does with a new artifact is this
    call, which does (tested with wandb 0.19.11, 0.21.4, 0.25.1, 0.28.2 and 0.31.0).
    """
    if live.offline:
        live._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    else:
        live.use_artifact(artifact)


def _artifact(run: FinishedRun, scene: RunInfo, kind: str, names: Sequence[str]) -> wandb.Artifact:
    """Collect files; equal ones are one version of an artifact, whoever logs them."""
    import wandb

    artifact = wandb.Artifact(f"{scene.name}-{kind}", type=kind)
    for name in names:
        path = run.folder / name
        for file in sorted(path.glob("*")) if path.is_dir() else [path]:
            if file.exists():
                place = str(file.relative_to(run.folder))
                artifact.add_file(str(file), place, policy="immutable", skip_cache=True)
    return artifact


def log_results(live: Any, run: FinishedRun) -> None:
    """Log tables, charts and the verdict into the campaign's run."""
    import wandb

    chosen = run.chosen
    live.log(
        {
            "chips": _chip_table(run),
            "plan": _table(run.groups),
            "strategies": _table(_strategy_rows(run)),
            "cost": wandb.plot.bar(
                _table(_strategy_rows(run)), "strategy", "epochs", title="Epochs of retraining"
            ),
        }
        | (_of_map(run) if run.analysed else {})
        | {
            f"figures/{path.stem}": wandb.Image(str(path))
            for path in sorted((run.folder / "figures").glob("*.png"))
        }
    )
    live.summary.update(
        {
            "verdict": verdict.headline(run),
            "epochs": chosen["retraining"]["epochs"],
            "models": chosen["models"],
            "met_val_share": chosen["met_val"] / len(run.chips),
            "met_test_share": chosen["met_test"] / len(run.chips),
            "verified_share": _share(chosen.get("verified"), len(run.chips)),
            "mean_test": chosen["mean_test"],
            "worst_test": chosen["worst_test"],
        }
    )
    if (run.folder / "report.html").exists():
        live.log({"report": wandb.Html((run.folder / "report.html").open(), inject=False)})


def _of_map(run: FinishedRun) -> dict[str, Any]:
    """Return what is logged of the analysis."""
    return {
        "resilience_map": _table(_map_rows(run)),
        "curves": _table(run.curves),
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


def _strategy_rows(run: FinishedRun) -> list[Row]:
    names = ("models", "met_val", "met_test", "verified", "mean_test", "worst_test")
    return [
        {
            "strategy": strategy["name"],
            "epochs": strategy["retraining"]["epochs"],
            "epochs_with_analysis": strategy["retraining"]["epochs"] + run.once_epochs(strategy),
            **{name: strategy.get(name) for name in names},
        }
        for strategy in run.summary["strategies"]
    ]


def _map_rows(run: FinishedRun) -> list[Row]:
    document = run.resilience_map
    epoch = document["steps_per_epoch"]
    return [
        {"severity": s, "amount_steps": a, "amount_epochs": None if a is None else a / epoch}
        for s, a in zip(document["severities"], document["amounts_steps"], strict=True)
    ]


def _chip_table(run: FinishedRun) -> wandb.Table:
    """Return the table of chips, with a thumbnail of each fault map and why it has its model."""
    import wandb

    maps = {chip.chip_id: chip for chip in run.maps}
    columns = list(run.chips[0])
    table = wandb.Table(columns=["fault_map", "why", *columns])
    for index, row in enumerate(run.chips):
        picture = wandb.Image(_thumbnail(maps[row["chip_id"]])) if index < THUMBNAILS else None
        table.add_data(picture, _why(row), *(row[column] for column in columns))
    return table


def _why(row: Row) -> str:
    """Say which model a chip carries and why."""
    if not row["group"]:
        lost = "" if row["salvageable"] else "; no amount within the budget is known for it"
        return f"carries the fault-free network, masked{lost}"
    return (
        f"carries {row['group']}, whose fused map ({row['fused_fault_rate']:.1%} faulty) covers "
        f"its own ({row['fault_rate']:.1%}); shared by {row['group_size']:.0f} chips"
    )


def _thumbnail(chip: Chip) -> Any:
    """Draw a fault map, a pixel a PE, enlarged where that is tiny; dark: faulty."""
    import numpy as np
    from PIL import Image

    shades = np.where(chip.fault_map.faulty, 34, 240).astype(np.uint8)
    scale = max(1, 64 // max(shades.shape))
    return Image.fromarray(shades.repeat(scale, axis=0).repeat(scale, axis=1))


def _heat_map(run: FinishedRun) -> wandb.Image:
    """Draw the mean metric over fault rate and amount."""
    import wandb
    from matplotlib.figure import Figure
    from PIL import Image

    rates = sorted({row["fault_rate"] for row in run.curves})
    epochs = sorted({row["amount_epochs"] for row in run.curves})
    cells: dict[tuple[float, float], list[float]] = {}
    for row in run.curves:
        if row["val_metric"] is not None:
            cells.setdefault((row["fault_rate"], row["amount_epochs"]), []).append(
                row["val_metric"]
            )
    values = [[_mean(cells.get((rate, epoch), [])) for epoch in epochs] for rate in rates]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    picture = axes.pcolormesh(epochs, [f"{rate:.1%}" for rate in rates], values, cmap="cividis")
    figure.colorbar(picture, label=f"mean validation {run.metric.name}")
    axes.set_xlabel("amount of retraining (epochs)")
    axes.set_ylabel("faulty PEs")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return wandb.Image(Image.open(stream))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
