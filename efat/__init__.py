"""efat: fault-aware training made affordable for many faulty chips.

Masks for a training loop of your own are here; so are the two functions that run a whole campaign
from Python, imported when they are asked for: they take the seconds that Lightning takes.
"""

from typing import TYPE_CHECKING, Any

from efat.errors import EfatError
from efat.hardware import FaultMap, SystolicArray
from efat.nn.masking import keep_masked, mask_model, verify_masks

if TYPE_CHECKING:
    from efat.config import compose_experiment
    from efat.pipeline import run_experiment

__all__ = [
    "EfatError",
    "FaultMap",
    "SystolicArray",
    "compose_experiment",
    "keep_masked",
    "mask_model",
    "run_experiment",
    "verify_masks",
]


def __getattr__(name: str) -> Any:
    if name == "compose_experiment":
        from efat.config import compose_experiment

        return compose_experiment
    if name == "run_experiment":
        from efat.pipeline import run_experiment

        return run_experiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
