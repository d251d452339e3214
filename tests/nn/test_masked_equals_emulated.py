"""METHOD fact 2a: the masked model computes what the array with bypassed PEs computes."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from efat import FaultMap, SystolicArray, mask_model
from efat.hardware.emulation import ArrayFaults, multiply
from efat.nn.emulated import emulate
from efat.nn.lowering import run_layer
from efat.nn.masking.activations import _multiply
from tests.nn.integer_layers import (
    DATAFLOWS,
    UnitScales,
    convolutions,
    faulty_arrays,
    integers,
    linears,
    with_integer_weights,
)


@settings(max_examples=220, deadline=None)
@given(st.one_of(convolutions(), convolutions(), linears()), faulty_arrays(), st.integers(0, 9999))
def test_masked_layer_equals_emulated_layer_in_integers(case, chip, seed):
    (layer, shape), (array, fault_map) = case, chip
    torch.manual_seed(seed)
    with_integer_weights(layer)
    x = integers(*shape)
    on_chip = emulate(layer, array, ArrayFaults(fault_map), UnitScales())(x)
    masked = mask_model(copy.deepcopy(layer), fault_map, array)(x)
    assert torch.equal(masked, on_chip)
    in_float64 = emulate(layer, array, ArrayFaults(fault_map), None)(x)
    assert torch.equal(in_float64, on_chip)


@settings(max_examples=40, deadline=None)
@given(faulty_arrays(), st.integers(0, 9999), st.booleans(), st.booleans(), st.booleans())
def test_masked_attention_equals_emulated_attention(chip, seed, packed, batch_first, bias):
    array, fault_map = chip
    torch.manual_seed(seed)
    sizes = {} if packed else {"kdim": 3, "vdim": 5}
    model = nn.MultiheadAttention(4, 2, bias=bias, batch_first=batch_first, **sizes)
    with_integer_weights(model)
    x = [integers(2, 3, n, high=3) for n in ((4, 4, 4) if packed else (4, 3, 5))]
    on_chip, scores = emulate(model, array, ArrayFaults(fault_map), None)(*x)
    masked, masked_scores = mask_model(copy.deepcopy(model), fault_map, array)(*x)
    torch.testing.assert_close(masked, on_chip, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(masked_scores, scores, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(faulty_arrays(), st.integers(0, 9999), st.booleans(), st.booleans())
def test_attention_projections_are_bit_exact_in_integers(chip, seed, packed, batch_first):
    """What enters the scores: integers, so masked and emulated projections are equal."""
    array, fault_map = chip
    torch.manual_seed(seed)
    sizes = {} if packed else {"kdim": 3, "vdim": 5}
    model = with_integer_weights(nn.MultiheadAttention(4, 2, batch_first=batch_first, **sizes))
    x = [integers(2, 3, n) for n in ((4, 4, 4) if packed else (4, 3, 5))]

    def projections(layer, products):
        seen = []

        def record(name, inputs, weights):
            seen.append(products(name, inputs, weights))
            return seen[-1]

        run_layer(layer, x, {}, record)
        return seen[:3]

    def on_chip(name, inputs, weights):
        operands = (operand.to(torch.int8).numpy() for operand in (inputs, weights))
        if name.startswith("out_proj"):
            return inputs.flatten(2) @ weights.flatten(1, 2)
        return torch.from_numpy(multiply(*operands, array, ArrayFaults(fault_map))).double()

    masked = mask_model(copy.deepcopy(model), fault_map, array)
    for ours, theirs in zip(
        projections(masked, partial(_multiply, masked, array)),
        projections(model, on_chip),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_a_fault_free_map_changes_nothing(dataflow):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3)).double()
    x = integers(2, 3, 6, 6)
    masked = mask_model(
        copy.deepcopy(model), FaultMap.none(4, 4), SystolicArray(4, 4, dataflow=dataflow)
    )
    torch.testing.assert_close(masked(x), model(x), rtol=1e-12, atol=1e-12)


def test_output_stationary_schedule_is_the_documented_one():
    """Output (image 1, channel 3, row 1, column 0) of a 2x2 map: n = 1*4 + 2 = 6, m = 3."""
    faulty = np.zeros((4, 2), bool)
    faulty[6 % 4, 3 % 2] = True
    layer = nn.Conv2d(1, 4, 1)
    x = torch.rand(2, 1, 2, 2)
    out = mask_model(copy.deepcopy(layer), FaultMap(faulty), SystolicArray(4, 2, dataflow="os"))(x)
    expected = layer(x)
    for b, p, channel in [(0, 2, 1), (0, 2, 3), (1, 2, 1), (1, 2, 3)]:
        expected[b, channel, p // 2, p % 2] = layer.bias[channel]
    assert torch.equal(out, expected)


def test_input_stationary_schedule_is_the_documented_one():
    """Linear: x[n, k] on PE(k % R, n % C); PE(1, 0) holds x[0, 1], x[0, 3], x[2, 1], x[2, 3]."""
    layer = nn.Linear(4, 3).double()
    x = integers(3, 4)
    faulty = FaultMap([[False, False], [True, False]])
    out = mask_model(copy.deepcopy(layer), faulty, SystolicArray(2, 2, dataflow="is"))(x)
    x[[0, 0, 2, 2], [1, 3, 1, 3]] = 0
    torch.testing.assert_close(out, layer(x), rtol=0, atol=1e-12)


def test_subset_of_faults_gives_identical_outputs():
    """METHOD fact 2b, weight-stationary: a model masked for a group runs unchanged on a member."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = with_integer_weights(nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(80, 3)))
    array = SystolicArray(6, 4)
    fused = FaultMap(rng.random((6, 4)) < 0.4)
    member = FaultMap(fused.faulty & (rng.random((6, 4)) < 0.5))
    x = integers(2, 2, 6, 6, high=3)
    mask_model(model, fused, array)
    outs = [
        emulate(model, array, ArrayFaults(m), None)(x) for m in (fused, member, FaultMap.none(6, 4))
    ]
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


@pytest.mark.parametrize("dataflow", ["os", "is"])
def test_subset_of_faults_gives_other_outputs_where_no_weight_is_masked(dataflow):
    """Fact 2b is of weights: docs/emulation.md says what to do with groups instead."""
    torch.manual_seed(0)
    model = with_integer_weights(nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(80, 3)))
    array = SystolicArray(6, 4, dataflow=dataflow)
    fused = FaultMap(np.random.default_rng(0).random((6, 4)) < 0.4)
    x = integers(2, 2, 6, 6, high=3)
    member, group = (
        mask_model(copy.deepcopy(model), faults, array)(x)
        for faults in (FaultMap.none(6, 4), fused)
    )
    assert not torch.equal(member, group)
