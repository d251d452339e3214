"""Test vectors detect every stuck-at PE of an emulated chip, and no other."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efat import EfatError, FaultMap, SystolicArray
from efat.hardware import detect, misjudged
from efat.hardware.emulation import ArrayFaults, EmulatedTester, StuckAt
from tests.hardware.stuck_bits import BITS, stuck_bits


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 5), st.sampled_from(["ws", "os", "is"]))
def test_every_stuck_pe_is_found_and_no_other(data, rows, cols, dataflow):
    stuck = data.draw(st.lists(stuck_bits(rows, cols), max_size=5))
    faults = ArrayFaults.undetected(rows, cols, stuck)
    chip = EmulatedTester(SystolicArray(rows, cols, dataflow=dataflow), faults)
    assert misjudged(detect(chip), faults.fault_map) == (0, 0)


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_every_single_bit_of_every_register_is_found(dataflow):
    array = SystolicArray(2, 3, dataflow=dataflow)
    for site, width in BITS.items():
        for bit in range(width):
            for value in (0, 1):
                faults = ArrayFaults.undetected(2, 3, [StuckAt(1, 1, site, bit, value)])
                assert detect(EmulatedTester(array, faults)) == faults.fault_map, (site, bit, value)


def test_a_larger_array_with_many_faults():
    rng = np.random.default_rng(0)
    sites = sorted(BITS)
    stuck = []
    for place in rng.choice(24 * 16, 30, replace=False):
        site = sites[rng.integers(4)]
        bit = int(rng.integers(BITS[site]))
        stuck.append(StuckAt(int(place // 16), int(place % 16), site, bit, int(rng.integers(2))))
    faults = ArrayFaults.undetected(24, 16, stuck)
    found = detect(EmulatedTester(SystolicArray(24, 16), faults))
    assert misjudged(found, faults.fault_map) == (0, 0)
    assert found.fault_count == 30


def test_misses_and_false_alarms_are_counted():
    found, true = FaultMap([[True, True, True, False]]), FaultMap([[True, False, False, True]])
    assert misjudged(found, true) == (1, 2)


@dataclass
class WrongShape:
    rows: int = 2
    cols: int = 2
    dataflow: str = "ws"

    def multiply(self, inputs, weights, bypassed):
        return np.zeros((3, 3), np.int32)


def test_a_chip_that_answers_in_a_wrong_shape_is_refused():
    with pytest.raises(EfatError, match=r"the chip answered \(3, 3\)"):
        detect(WrongShape())
