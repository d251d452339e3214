"""Weights & Biases: a group a campaign, a run a training, and one run a stage for the lineage."""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import TYPE_CHECKING, Any, Literal

from efat.campaign.run_result import RunResult
from efat.errors import EfatError
from efat.reporting.tracking.base import RunInfo, Training, curve_points
from efat.reporting.tracking.wandb_results import log_lineage, log_results

if TYPE_CHECKING:
    import wandb

MODES = ("offline", "online", "disabled")


class WandbTracker:
    """Log a campaign to Weights & Biases.

    Args:
        project: W&B project.
        mode: `offline` writes into the run's folder, to be sent with `wandb sync`; `online` needs
            an account; `disabled` logs nothing.

    Raises:
        EfatError: Another mode.
    """

    def __init__(
        self, project: str, mode: Literal["offline", "online", "disabled"] = "offline"
    ) -> None:
        if mode not in MODES:
            raise EfatError(f"tracking.mode: {mode!r} given; allowed: {', '.join(MODES)}")
        self.project, self.mode = project, mode

    def begin(self, info: RunInfo) -> None:
        """Take note of the campaign; what an agent of a sweep says goes to the campaign's run."""
        self.info = info
        self.sweep_run = os.environ.pop("WANDB_RUN_ID", None)
        self.sweep = os.environ.pop("WANDB_SWEEP_ID", None)
        if self.mode == "disabled":
            return
        if self.mode == "offline":  # nor does W&B report its own use over a network
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        _import_early()
        if self.mode == "online":
            require_key("leave tracking.mode=offline and use `wandb sync`")
        self.settings = _settings()

    def train(self, training: Training) -> None:
        """Log a training as a run; its id is from its key, so that it is there once."""
        if self.mode == "disabled":
            return
        with self.start(training.stage, training.key[:16], training.stage, training.config) as run:
            for axis in ("epochs", "steps", "samples"):
                run.define_metric(axis, hidden=True)
            run.define_metric("val_metric", step_metric="epochs", summary="last,min,max")
            for point in curve_points(self.info, training):
                run.log(point)
            run.summary.update(
                {"trained_steps": training.trained_steps, "elapsed_s": training.elapsed_s}
            )

    def finish(self, run: RunResult | None) -> None:
        """Log the lineage of the artifacts, a run a stage, and the campaign's own run."""
        if self.mode == "disabled" or run is None:
            return
        log_lineage(self.start, run, self.info)
        run_id = self.sweep_run or self.info.group
        with self.start("campaign", run_id, self.info.name, sweep=self.sweep) as live:
            log_results(live, run)

    def start(
        self,
        job_type: str,
        run_id: str,
        name: str,
        derived: Any = None,
        sweep: str | None = None,
    ) -> wandb.Run:
        """Begin a run of this campaign's group."""
        import wandb  # slow to import, and only here needed

        return wandb.init(
            project=self.project,
            mode=self.mode,
            dir=str(self.info.folder),
            id=run_id,
            name=f"{name} {run_id[:8]}" if derived else name,
            resume="allow" if self.mode == "online" else None,
            reinit="create_new",  # a run of the user's own in this process stays as it is
            group=self.info.group,
            job_type=job_type,
            tags=[*self.info.tags, job_type],
            config={**self.info.config, **({"training_unit": dict(derived)} if derived else {})},
            settings=self.settings.model_copy(update={"sweep_id": sweep} if sweep else {}),
        )


def _settings() -> wandb.Settings:
    """Return what all runs have in common; W&B checks it anew each time that it is built."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        symlink=False,  # to the latest of hundreds
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_meta=True,  # hosts, users and home folders
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )


def _import_early() -> None:
    """Import what W&B's first run would, 1.7 s, while the baseline leaves the other cores idle."""
    with contextlib.suppress(ImportError):  # not part of W&B's interface: its first run will do it
        importlib.import_module("wandb.sdk.launch")


def require_key(otherwise: str) -> None:
    """Refuse to go online without a key: W&B would ask for one, on a terminal that is busy.

    Args:
        otherwise: What to do without an account.

    Raises:
        EfatError: W&B knows no key, from its environment variable or its login.
    """
    if not _knows_key():
        raise EfatError(f"no W&B key; run `wandb login`, or {otherwise}")


def _knows_key() -> bool:
    import wandb  # slow to import, and only here needed

    try:
        return bool(wandb.login(prompt=False, verify=False))
    except TypeError:  # no `prompt` up to 0.28; later versions warn of `wandb.api`
        return bool(wandb.api.api_key)
