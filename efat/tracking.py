"""Experiment trackers; the only file that imports wandb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from efat.errors import EfatError

MODES = ("offline", "online")


class NoTracker:
    """Track nothing; the files of the run hold everything."""

    def log(
        self,
        folder: Path,
        config: Mapping[str, Any],
        tables: Mapping[str, Sequence[Mapping[str, Any]]],
        figures: Sequence[Path],
    ) -> None:
        """Do nothing."""


class WandbTracker:
    """Log a campaign to Weights & Biases as one run.

    Args:
        project: W&B project.
        mode: `offline` writes into the run's folder, to be sent with `wandb sync`; `online` needs
            an account.

    Raises:
        EfatError: Another mode.
    """

    def __init__(self, project: str, mode: Literal["offline", "online"] = "offline") -> None:
        if mode not in MODES:
            raise EfatError(f"tracking.mode: {mode!r} given; allowed: {', '.join(MODES)}")
        self.project, self.mode = project, mode

    def log(
        self,
        folder: Path,
        config: Mapping[str, Any],
        tables: Mapping[str, Sequence[Mapping[str, Any]]],
        figures: Sequence[Path],
    ) -> None:
        """Send tables and figures.

        Args:
            folder: Where W&B keeps its offline files.
            config: The composed configuration.
            tables: Rows by table name; rows of one table have equal keys.
            figures: PNG files.
        """
        import wandb  # slow to import, and only here needed

        settings = wandb.Settings(silent=True, console="off")
        with wandb.init(
            project=self.project,
            mode=self.mode,
            dir=str(folder),
            config=dict(config),
            name=str(config.get("name")),
            settings=settings,
        ) as run:
            for name, rows in tables.items():
                columns = list(rows[0])
                data = [[row[column] for column in columns] for row in rows]
                run.log({name: wandb.Table(columns=[*columns], data=data)})
            run.log({path.stem: wandb.Image(str(path)) for path in figures})
