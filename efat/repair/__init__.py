"""Mending a masked network without training: from its calibration inputs, in closed form.

`measure_grams` once a network, then for each chip `remap` (which output channel goes to which
column, which input to which row), `compensate` or `compensate_sequentially` (surviving weights that
make up for the pruned ones) and, where nothing else is done, `recalibrate` (BatchNorm statistics
under the mask) or, without BatchNorm, `rescale` (each channel's scale and shift). Each returns a
new model or value; the model it is given stays as it is.
"""

from efat.repair.artifact import load_repaired, save_repaired
from efat.repair.blocks import Gram
from efat.repair.compensate import compensate
from efat.repair.grams import Grams, measure_grams
from efat.repair.recalibrate import recalibrate
from efat.repair.remap import remap
from efat.repair.rescale import rescale
from efat.repair.sequential import compensate_sequentially

__all__ = [
    "Gram",
    "Grams",
    "compensate",
    "compensate_sequentially",
    "load_repaired",
    "measure_grams",
    "recalibrate",
    "remap",
    "rescale",
    "save_repaired",
]
