"""Operations on an `nn.Module`: masks, closed-form repair, saliency, emulation.

torch only, no Lightning; imports `hardware`, `errors` and `io`. Subpackages: `masking`, `repair`.
"""

from efat.nn.emulated import calibrate, emulate
from efat.nn.saliency import magnitude_saliency, taylor_saliency

__all__ = [
    "calibrate",
    "emulate",
    "magnitude_saliency",
    "taylor_saliency",
]
