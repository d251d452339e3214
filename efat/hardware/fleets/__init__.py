"""Fleets of chips (METHOD section 8): generated at random, or read from a file.

Every generator is `f(array, seed, ...) -> Fleet`. Chip `i` has its own random stream, so a larger
fleet starts with the chips of a smaller one. The exception is `uniform_fleet` with `[low, high]`:
there the rate of a chip depends on the number of chips. Rates are shares of the array's PEs, in
[0, 1]. Rates of 1-50 % stand for high-defect-rate technologies and stress studies: a mature 5 nm
process has about 0.001 defects per mm^2.
"""

from efat.hardware.fleets.clustered import block_fleet, clustered_fleet
from efat.hardware.fleets.io import check_fleet_file, file_fleet, load_fleet, save_fleet
from efat.hardware.fleets.npz import fleet_hash
from efat.hardware.fleets.patterned import line_fleet, mixture_fleet, systematic_fleet
from efat.hardware.fleets.sampling import draw_fault_map
from efat.hardware.fleets.summary import FleetSummary, summarise
from efat.hardware.fleets.uniform import spread_fleet, uniform_fleet

__all__ = [
    "FleetSummary",
    "block_fleet",
    "check_fleet_file",
    "clustered_fleet",
    "draw_fault_map",
    "file_fleet",
    "fleet_hash",
    "line_fleet",
    "load_fleet",
    "mixture_fleet",
    "save_fleet",
    "spread_fleet",
    "summarise",
    "systematic_fleet",
    "uniform_fleet",
]
