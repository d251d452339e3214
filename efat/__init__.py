"""efat: fault-aware training made affordable for many faulty chips."""

from efat.errors import EfatError
from efat.hardware import FaultMap, SystolicArray
from efat.nn.masking import keep_masked, mask_model, verify_masks

__all__ = ["EfatError", "FaultMap", "SystolicArray", "keep_masked", "mask_model", "verify_masks"]
