"""Repair of a masked network without training, in closed form from calibration inputs.

Once per network: `measure_grams`. For each chip: `remap` (assigns output channels to columns and
inputs to rows), `compensate` or `compensate_sequentially` (surviving weights compensate the pruned
ones). Without these: `recalibrate` (BatchNorm statistics under the mask) or, without BatchNorm,
`rescale` (scale and shift of each channel). Each returns a new model or value and does not change
its argument.
"""

from efat.nn.repair.batch_norm import BatchNorm
from efat.nn.repair.compensate import compensate
from efat.nn.repair.gram import Gram
from efat.nn.repair.grams import Grams, inputs_of, measure_grams
from efat.nn.repair.recalibrate import has_statistics, recalibrate
from efat.nn.repair.remap import remap
from efat.nn.repair.rescale import rescale
from efat.nn.repair.sequential import compensate_sequentially
from efat.nn.repair.serialization import (
    load_repaired,
    placement_header,
    placement_of,
    save_repaired,
)
from efat.nn.repair.weight_matrices import weight_matrices

__all__ = [
    "BatchNorm",
    "Gram",
    "Grams",
    "compensate",
    "compensate_sequentially",
    "has_statistics",
    "inputs_of",
    "load_repaired",
    "measure_grams",
    "placement_header",
    "placement_of",
    "recalibrate",
    "remap",
    "rescale",
    "save_repaired",
    "weight_matrices",
]
