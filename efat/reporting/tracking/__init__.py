"""Experiment trackers: Weights & Biases, and Lightning's loggers.

A tracker is one file here and one YAML in `conf/tracking/`. Trackers are imported when they are
asked for: wandb takes a second.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "NoTracker": "base",
    "LightningTracker": "lightning_logger",
    "WandbTracker": "wandb_runs",
    "apply_dashboard": "wandb_dashboard",
    "BackgroundTracker": "background",
    "describe_run": "describe",
    "track": "describe",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
