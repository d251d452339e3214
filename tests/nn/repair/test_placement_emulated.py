"""The emulated array executes a placement, bit by bit."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from efat import FaultMap, SystolicArray, mask_model
from efat.hardware.emulation import ArrayFaults, StuckAt
from efat.hardware.emulation.gemm import multiply
from efat.hardware.mapping import Slots
from efat.nn.emulated import emulate
from efat.nn.repair import (
    measure_grams,
    remap,
)
from efat.nn.repair.weight_matrices import weight_matrices
from tests.nn.repair.nets import ARRAY, LAYERS, Attention, a_map

PLACED = {
    "narrow": (SystolicArray(5, 11), LAYERS["conv"]),
    "wide": (SystolicArray(5, 4), LAYERS["conv"]),
    "spatial first": (SystolicArray(6, 4, "im2col_spatial_first"), LAYERS["conv"]),
    "channel": (SystolicArray(2, 4, "channel"), LAYERS["conv"]),
    "grouped": (SystolicArray(5, 4), LAYERS["grouped"]),
    "depthwise": (SystolicArray(5, 4), LAYERS["depthwise"]),
    "transposed": (SystolicArray(5, 4), LAYERS["transposed"]),
    "linear": (SystolicArray(5, 4), LAYERS["linear"]),
}


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("kind", PLACED)
def test_the_emulated_array_executes_a_placement_bit_by_bit(kind, rows):
    array, (make, shape) = PLACED[kind]
    torch.manual_seed(0)
    model, x = nn.Sequential(make()), torch.randint(-8, 8, shape).double()
    for parameter in model.parameters():
        parameter.data = torch.randint(-8, 8, parameter.shape).double()
    model.double()
    fault_map = a_map(5, array=array)
    placement = remap(model, fault_map, array, measure_grams(model, [x]), rows=rows)
    assert (placement["0.weight"].rows is None) != rows
    masked = mask_model(copy.deepcopy(model), fault_map, array, placement=placement)
    on_array = emulate(model, array, ArrayFaults(fault_map), None, placement=placement)
    assert torch.equal(masked(x), on_array(x))
    plain = emulate(model, array, ArrayFaults(fault_map), None)
    assert not torch.equal(masked(x), plain(x))
    subset = FaultMap(fault_map.faulty & (np.arange(array.cols) % 2 == 0))
    member = emulate(masked, array, ArrayFaults(subset), None, placement=placement)
    assert torch.equal(member(x), masked(x))  # METHOD 2b, under one placement


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(LAYERS)),
    order=st.sampled_from(["im2col", "im2col_spatial_first", "channel"]),
    sides=st.tuples(st.integers(1, 9), st.integers(1, 6)),
    seed=st.integers(0, 999),
)
def test_masked_equals_emulated_in_any_slots(kind, order, sides, seed):
    make, shape = LAYERS[kind]
    torch.manual_seed(seed)
    model, x = nn.Sequential(make()), torch.randint(-8, 8, shape).double()[:2]
    for parameter in model.parameters():
        parameter.data = torch.randint(-8, 8, parameter.shape).double()
    array, rng = SystolicArray(*sides, order), np.random.default_rng(seed)
    fault_map = a_map(seed, array=array)
    (product,) = weight_matrices(model).values()
    groups, _, m = product.positions.shape
    k = product.reduction(array).max() + 1

    def drawn(count, side):
        total = -(-count // side) * side
        return np.array([rng.permutation(total)[:count] for _ in range(groups)])

    placement = {"0.weight": Slots(drawn(m, array.cols), drawn(k, array.rows))}
    masked = mask_model(copy.deepcopy(model).double(), fault_map, array, placement=placement)
    on_array = emulate(model.double(), array, ArrayFaults(fault_map), None, placement=placement)
    assert torch.equal(masked(x), on_array(x))


def test_inputs_meet_the_faults_of_the_rows_that_they_are_streamed_into():
    """By hand: a stuck bit of a row changes the input there, and what is added above it only."""
    x, w = np.array([[[[1], [2]]]], np.int8), np.array([[[[1]], [[1]]]], np.int8)
    slots = Slots(np.array([[1]]), np.array([[2, 0]]))  # input 0 in row 2, input 1 in row 0
    array = SystolicArray(3, 2)

    def run(*stuck):
        faults = ArrayFaults.undetected(3, 2, [StuckAt(*fault) for fault in stuck])
        return multiply(x, w, array, faults, slots).item()

    assert run() == 3
    assert run((0, 0, "input", 2, 1)) == 7  # input 1 passes column 0 on its way: 2 | 4
    assert run((1, 1, "input", 2, 1)) == 3  # no weight in row 1
    assert run((0, 1, "psum", 0, 1)) == 4  # (2 | 1) + 1
    assert run((1, 1, "psum", 1, 0)) == 1  # (2 & ~2) + 1
    assert run((2, 1, "psum", 0, 0)) == 2  # (2 + 1) & ~1


def test_the_emulated_array_executes_the_placement_of_an_attention():
    torch.manual_seed(0)
    model, x = Attention().double().eval(), torch.randn(3, 6, 8).double()
    fault_map = a_map(5)
    placement = remap(model, fault_map, ARRAY, measure_grams(model, [x]), rows=True)
    masked = mask_model(copy.deepcopy(model), fault_map, ARRAY, placement=placement)
    on_array = emulate(model, ARRAY, ArrayFaults(fault_map), None, placement=placement)
    torch.testing.assert_close(masked(x), on_array(x), rtol=1e-12, atol=1e-12)
