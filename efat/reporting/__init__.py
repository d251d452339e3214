"""What people see: run folder, terminal, figures, HTML report, experiment trackers.

Imports `campaign` and below, never `config`. Public names are imported when they are asked for:
matplotlib takes a second.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "headline": "sentences",
    "summary": "sentences",
    "strategy_rows": "sentences",
    "next_steps": "advice",
    "write_report": "html.write",
    "write_comparison": "html.write",
    "plot_curves": "figures.resilience",
    "plot_fault_rates": "figures.resilience",
    "plot_resilience_map": "figures.resilience",
    "plot_strategies": "figures.resilience",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
