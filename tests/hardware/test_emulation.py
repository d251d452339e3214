"""The fast emulator against the array cycle by cycle, for every dataflow and fault."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efat import EfatError, FaultMap, SystolicArray
from efat.hardware.emulation import ArrayFaults, StuckAt, gemm, multiply, simulate, textbook_cycles
from experiments.bench.emulation import measure_speed, speed_table
from tests.hardware.stuck_bits import BITS, stuck_bits


@st.composite
def chips(draw, max_side=5):
    rows, cols = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    bypassed = draw(st.lists(st.booleans(), min_size=rows * cols, max_size=rows * cols))
    if not draw(st.booleans()):
        bypassed = [False] * (rows * cols)
    stuck = draw(st.lists(stuck_bits(rows, cols), max_size=4))
    array = SystolicArray(rows, cols, dataflow=draw(st.sampled_from(["ws", "os", "is"])))
    return array, ArrayFaults(FaultMap(np.array(bypassed).reshape(rows, cols)), tuple(stuck))


def operands(seed, n, k, m):
    rng = np.random.default_rng(seed)
    sides = rng.choice([2, 128], 2)  # small values meet stuck bits that large ones hide
    x, w = (
        rng.integers(-side, side, shape).astype(np.int8)
        for side, shape in zip(sides, ((n, k), (k, m)), strict=True)
    )
    return x, w


@settings(max_examples=250, deadline=None)
@given(chips(), st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**32))
def test_fast_emulation_equals_the_array_cycle_by_cycle(chip, shape, seed):
    array, faults = chip
    x, w = operands(seed, *shape)
    run = simulate(x, w, array, faults)
    assert gemm(x, w, array, faults).tolist() == run.outputs.tolist()
    assert run.outputs.dtype == gemm(x, w, array, faults).dtype == np.int32
    assert run.cycles == textbook_cycles(*shape, array)


@settings(max_examples=60, deadline=None)
@given(chips(), st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**32))
def test_float64_equals_the_array_cycle_by_cycle(chip, shape, seed):
    array, faults = chip
    faults = ArrayFaults(faults.bypassed)
    x, w = (operand.astype(np.float64) for operand in operands(seed, *shape))
    assert gemm(x, w, array, faults).tolist() == simulate(x, w, array, faults).outputs.tolist()


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_a_healthy_array_multiplies(dataflow):
    x, w = operands(0, 7, 11, 5)
    array = SystolicArray(3, 4, dataflow=dataflow)
    out = gemm(x, w, array, ArrayFaults(FaultMap.none(3, 4)))
    assert out.tolist() == (x.astype(int) @ w.astype(int)).tolist()


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["ws", "os", "is"]), st.integers(0, 2**32))
def test_stuck_bits_that_meet_act_one_after_the_other(data, dataflow, seed):
    """Few PEs, few bits: opposite values on one bit, along one row, in one PE."""
    stuck = data.draw(
        st.lists(
            st.builds(
                StuckAt,
                st.integers(0, 1),
                st.integers(0, 2),
                st.sampled_from(sorted(BITS)),
                st.just(2),
                st.integers(0, 1),
            ),
            min_size=2,
            max_size=8,
        )
    )
    array, faults = SystolicArray(2, 3, dataflow=dataflow), ArrayFaults.undetected(2, 3, stuck)
    x, w = operands(seed, 4, 3, 5)
    assert (gemm(x, w, array, faults) == simulate(x, w, array, faults).outputs).all()


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("k", [1000, 1030, 5000])
def test_long_sums_are_exact(dataflow, k):
    """Around 2**24, where float32 stops holding every integer, and beyond."""
    rng = np.random.default_rng(0)
    x, w = (rng.integers(117, 128, shape).astype(np.int8) for shape in ((6, k), (k, 6)))
    array = SystolicArray(8192, 8, dataflow=dataflow)
    out = gemm(x, w, array, ArrayFaults(FaultMap.none(8192, 8)))
    assert out.tolist() == (x.astype(int) @ w.astype(int)).tolist()


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("k", [1025, 2047, 4000, 4096])
def test_long_sums_of_extreme_values_are_exact(dataflow, k):
    """Beyond 2**24 even integers fit float32 still: the odd product comes first, then 2**14s."""
    x, w = np.full((2, k), -128, np.int8), np.full((k, 2), -128, np.int8)
    x[:, 0], w[0] = 1, 1
    x[1, 1:5], w[1:5, 1] = 127, -127
    array = SystolicArray(8192, 8, dataflow=dataflow)
    out = gemm(x, w, array, ArrayFaults(FaultMap.none(8192, 8)))
    assert out.tolist() == (x.astype(int) @ w.astype(int)).tolist()


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_partial_sums_wrap_at_32_bits(dataflow):
    """2**17 products of 2**14 are 2**31, one more than int32 holds."""
    x, w = np.full((1, 2**17), -128, np.int8), np.full((2**17, 1), -128, np.int8)
    array = SystolicArray(2**16, 1, dataflow=dataflow)
    out = gemm(x, w, array, ArrayFaults(FaultMap.none(2**16, 1)))
    assert out.tolist() == [[-(2**31)]]


def test_a_stuck_bit_in_a_row_that_the_layer_does_not_use_counts():
    x, w = np.zeros((1, 2), np.int8), np.zeros((2, 1), np.int8)
    faults = ArrayFaults.undetected(4, 1, [StuckAt(3, 0, "psum", 20, 1)])
    assert gemm(x, w, SystolicArray(4, 1), faults).tolist() == [[2**20]]


def test_bypassing_a_stuck_pe_leaves_what_a_bypass_leaves():
    x, w = operands(1, 6, 9, 7)
    stuck = [StuckAt(1, 1, site, 6, 1) for site in BITS] + [StuckAt(0, 2, "input", 0, 1)]
    faults = ArrayFaults.undetected(3, 4, stuck)
    for dataflow in ("ws", "os", "is"):
        array = SystolicArray(3, 4, dataflow=dataflow)
        bypass = ArrayFaults(faults.fault_map)
        assert (gemm(x, w, array, faults.mitigated()) == gemm(x, w, array, bypass)).all()
        assert (gemm(x, w, array, faults) != gemm(x, w, array, bypass)).any()


def test_channel_order_runs_tap_by_tap():
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (2, 5, 3, 4)).astype(np.int8)
    w = rng.integers(-128, 128, (2, 3, 4, 6)).astype(np.int8)
    faults = ArrayFaults(FaultMap(rng.random((2, 3)) < 0.3))
    for dataflow in ("ws", "os", "is"):
        array = SystolicArray(2, 3, "channel", dataflow)
        out = multiply(x, w, array, faults)
        taps = [
            [gemm(x[g, :, :, t], w[g, :, t], array, faults) for t in range(4)] for g in range(2)
        ]
        assert (out == np.sum(taps, axis=1)).all()


def test_bad_faults_and_operands_are_named():
    with pytest.raises(EfatError, match=r"stuck_at.site: 'adder'") as caught:
        StuckAt(0, 0, "adder", 0, 2)
    assert len(caught.value.problems) == 2
    with pytest.raises(EfatError, match=r"bit: 8 given; weight has bits 0 to 7"):
        StuckAt(0, 0, "weight", 8, 0)
    for name in ("row", "col", "bit"):
        for value in (1.0, "1", None, True):
            place = {"row": 0, "col": 0, "bit": 0} | {name: value}
            with pytest.raises(EfatError, match=rf"stuck_at.{name}: .* an int is needed"):
                StuckAt(**place, site="psum", value=1)
    assert type(StuckAt(0, 0, "psum", np.int8(30), np.int8(1)).bit) is int
    with pytest.raises(EfatError, match=r"PE\(2, 0\) given; the array has 2x2"):
        ArrayFaults.undetected(2, 2, [StuckAt(2, 0, "psum", 0, 0)])
    faults = ArrayFaults.undetected(2, 2, [StuckAt(0, 0, "psum", 0, 0)])
    with pytest.raises(EfatError, match=r"operands of float64"):
        gemm(np.zeros((1, 1)), np.zeros((1, 1)), SystolicArray(2, 2), faults)
    with pytest.raises(EfatError, match=r"the array has 3x2"):
        gemm(np.zeros((1, 1)), np.zeros((1, 1)), SystolicArray(3, 2), faults)


def test_the_bench_measures_every_dataflow():
    speeds = measure_speed(side=32, repeats=1)
    assert {speed.dataflow for speed in speeds} == {"ws", "os", "is"}
    assert all(0 < speed.macs_per_s < float("inf") for speed in speeds)
    lines = speed_table(speeds).splitlines()
    assert len(lines) == 6
    assert all("GMAC/s" in line for line in lines)


@pytest.mark.parametrize("run", [gemm, simulate])
@pytest.mark.parametrize("shapes", [((2, 3), (4, 2)), ((2, 3), (3,)), ((3,), (3, 2))])
def test_shapes_that_do_not_multiply_are_refused(run, shapes):
    x, w = (np.zeros(shape, np.int8) for shape in shapes)
    for dataflow in ("ws", "os", "is"):
        with pytest.raises(EfatError, match=r"\[n, k\] and \[k, m\] are needed"):
            run(x, w, SystolicArray(2, 2, dataflow=dataflow), ArrayFaults(FaultMap.none(2, 2)))
