"""A dashboard for the runs that efat logs to Weights & Biases, as a saved view of a project."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from efat.errors import EfatError
from efat.reporting.tracking.wandb_runs import require_key

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

NAME = "efat: a fleet and its models"

CAMPAIGN = (
    "pass_test_share", "certified_share", "pass_val_share", "worst_test", "epochs", "models",
)  # fmt: skip
"""What the campaign's own run says in one number each."""

FIGURES = ("resilience_map", "curves", "groups", "strategies", "fault_maps", "fleet")
"""Figures of a run's folder, without their ending."""


def build_dashboard(entity: str, project: str) -> Workspace:
    """Define the dashboard; nothing is sent.

    Args:
        entity: User or team that owns the project.
        project: As in `tracking.project`.

    Returns:
        Runs by campaign and stage beside four sections: the verdict, the chips, how much
        retraining they needed, the plan and its cost.

    Raises:
        EfatError: `wandb-workspaces` is not installed.
    """
    workspaces, _ = _import()
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[_verdict(), _chips(), _resilience(), _plan()],
        settings=workspaces.WorkspaceSettings(x_axis="epochs"),
        runset_settings=workspaces.RunsetSettings(
            groupby=[workspaces.Metric("Group"), workspaces.Metric("JobType")],
            pinned_columns=["summary:verdict", *(f"summary:{name}" for name in CAMPAIGN)],
        ),
    )


def apply_dashboard(project: str) -> str:
    """Save the dashboard as a new view of a project that has runs.

    Args:
        project: As in `tracking.project`.

    Returns:
        Its address.

    Raises:
        EfatError: `wandb-workspaces` is not installed, there is no key, or W&B did not take it.
    """
    _import()
    require_key("look at report.html, which needs no account")
    import wandb

    try:
        entity = os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity
        if not entity:
            raise LookupError("the account has no default entity; set WANDB_ENTITY")
        return str(build_dashboard(entity, project).save_as_new_view().url)
    except Exception as error:  # the network, the account, the project: of many types
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise EfatError(f"tracking.project: {project!r} given; W&B took no view: {why}") from None


def _import() -> tuple[Any, Any]:
    """Return the modules for workspaces and for panels; installed only by those who want them."""
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise EfatError(
            "stage: dashboard given; wandb-workspaces is not installed; pip install "
            "'efat[dashboard]'"
        ) from None
    return workspaces, panels


def _verdict() -> Section:
    workspaces, panels = _import()
    charts = [panels.ScalarChart(title=name, metric=name) for name in CAMPAIGN]
    report = panels.MediaBrowser(title="report", media_keys=["report"])
    return workspaces.Section(name="Verdict", panels=[*charts, report], is_open=True)


def _chips() -> Section:
    """Show which chip carries which model and why, fault maps beside it."""
    workspaces, panels = _import()
    table = panels.WeavePanelSummaryTable(table_name="chips")
    return workspaces.Section(name="Chips", panels=[table], is_open=True)


def _resilience() -> Section:
    workspaces, panels = _import()
    curves = panels.LinePlot(
        title="validation metric against retraining, by fault rate",
        x="epochs",
        y=["val_metric"],
        groupby=panels.Config("training_unit.fault_rate"),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
    )
    heat_map = panels.MediaBrowser(media_keys=["resilience_heat_map"])
    table = panels.WeavePanelSummaryTable(table_name="resilience_map")
    return workspaces.Section(name="Resilience", panels=[curves, heat_map, table], is_open=True)


def _plan() -> Section:
    workspaces, panels = _import()
    tables = [panels.WeavePanelSummaryTable(table_name=name) for name in ("plan", "strategies")]
    figures = [panels.MediaBrowser(media_keys=[f"figures/{name}"]) for name in FIGURES]
    return workspaces.Section(name="Plan and cost", panels=[*tables, *figures])
