"""How a run was made: command, versions, seed and hashes; nothing private."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from efat.campaign import Experiment, identity

PACKAGES = ("efat", "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "numpy", "wandb")
"""Whose versions are recorded."""

SECRET = re.compile(r"(token|secret|passw|api_?key|credential)", re.IGNORECASE)


def describe_provenance(experiment: Experiment, command: str, begun: str) -> dict[str, Any]:
    """Say what it takes to make a run again.

    Args:
        experiment: The campaign.
        command: As typed.
        begun: When, ISO 8601.
    """
    return {
        "name": experiment.name,
        "command": redact(command),
        "begun": begun,
        "seed": experiment.seed,
        "array": f"{experiment.array.rows}x{experiment.array.cols}",
        "chips": len(experiment.fleet),
        "planner": experiment.planner_name,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cores": os.cpu_count(),
        "versions": dict(_versions(PACKAGES)),
        "compatibility_hash": identity(experiment),
        "split_sha256": experiment.retrain_setup.split_hash,
        "checkpoint_sha256": experiment.checkpoint.sha256 if experiment.checkpoint else None,
    }


def _versions(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:  # noqa: PERF203 - a few names
            yield name, "not installed as a package"


def redact(value: Any, home: Path | None = None) -> Any:
    """Return `value` without home folders and secrets, fit to be shown to anybody.

    >>> redact({"path": "/home/me/x", "api_key": "abc", "epochs": 3}, Path("/home/me"))
    {'path': '~/x', 'api_key': '(left out)', 'epochs': 3}
    """
    home = Path.home() if home is None else home
    if isinstance(value, Mapping):
        return {
            str(key): "(left out)"
            if SECRET.search(str(key)) and item is not None
            else redact(item, home)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item, home) for item in value]
    if isinstance(value, str | Path):
        return re.sub(rf"{re.escape(str(home))}(?=/|$|\s)", "~", str(value))
    return value
