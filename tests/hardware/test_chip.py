import numpy as np
import pytest

from efat import EfatError, FaultMap, SystolicArray
from efat.hardware.chip import Chip, Fleet
from efat.hardware.fleets import draw_fault_map, uniform_fleet

ARRAY = SystolicArray(8, 4)


def test_rates_are_spread_evenly_and_exact():
    fleet = uniform_fleet(SystolicArray(16, 16), 0, 5, [0.0, 0.25])
    assert [chip.fault_map.fault_count for chip in fleet] == [0, 16, 32, 48, 64]
    assert [chip.chip_id for chip in fleet] == ["chip0", "chip1", "chip2", "chip3", "chip4"]


def test_one_rate_for_all():
    assert {chip.fault_map.fault_count for chip in uniform_fleet(ARRAY, 0, 3, 0.25)} == {8}


def test_all_problems_of_a_fleet_come_at_once():
    with pytest.raises(EfatError) as caught:
        uniform_fleet(ARRAY, 0, 0, [0.5, 1.5])
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "fleet.chips",
        "fleet.fault_rate",
    ]
    with pytest.raises(EfatError, match=r"(?s)'a': used 2 times.*one shape is needed"):
        Fleet((Chip("a", FaultMap.none(2, 2)), Chip("a", FaultMap.none(3, 3))))
    with pytest.raises(EfatError, match="no chip in it"):
        Fleet(())


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_0_1_is_refused(rate):
    with pytest.raises(EfatError, match=r"fault rate: .* a number in \[0, 1\]"):
        draw_fault_map(ARRAY, rate, np.random.default_rng(0))
