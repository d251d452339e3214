"""Mending a masked network without training: from its calibration inputs, in closed form.

`measure_grams` once a network, then for each chip `remap` (which output channel goes to which
column, which input to which row), `compensate` or `compensate_sequentially` (surviving weights that
make up for the pruned ones) and, where nothing else is done, `recalibrate` (BatchNorm statistics
under the mask) or, without BatchNorm, `rescale` (each channel's scale and shift). Each returns a
new model or value; the model it is given stays as it is.
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
