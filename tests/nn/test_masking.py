"""The masked model is the array; its masks follow copies, state dicts and dtypes."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from efat import EfatError, SystolicArray, keep_masked, mask_model, verify_masks
from efat.models.resnet import ResNet
from efat.nn.masking import MASK, masked_layers
from tests.hardware.reference import walk_conv2d, walk_linear
from tests.nn.masked_nets import (
    ARRAY,
    ORDERS,
    batches,
    random_map,
    small_net,
    train,
    watch_forwards,
)


@given(
    st.sampled_from([1, 2, 3]), st.integers(1, 2), st.integers(1, 2), st.integers(1, 3),
    st.integers(1, 5), st.integers(1, 5), st.sampled_from(ORDERS), st.integers(1, 2),
    st.integers(0, 1), st.integers(0, 2**16),
)  # fmt: skip
def test_masked_conv_equals_the_walk_over_the_array(
    groups, per_in, per_out, kernel, rows, cols, order, stride, padding, seed
):
    rng = np.random.default_rng(seed)
    array = SystolicArray(rows, cols, order)
    fault_map = random_map(0.4, seed, array)
    layer = nn.Conv2d(
        groups * per_in, groups * per_out, kernel, stride, padding, groups=groups, bias=False
    )
    weight = rng.integers(-128, 128, tuple(layer.weight.shape))
    image = rng.integers(-128, 128, (groups * per_in, 4, 4))
    layer.weight.data = torch.from_numpy(weight).double()
    mask_model(layer, fault_map, array)
    got = layer(torch.from_numpy(image).double()[None])[0]
    expected = walk_conv2d(image, weight, fault_map.faulty, order, groups, stride, padding)
    np.testing.assert_array_equal(got.detach().numpy(), expected)  # integers: exact in float64


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99)
)
def test_masked_linear_equals_the_walk_over_the_array(inputs, outputs, rows, cols, seed):
    rng = np.random.default_rng(seed)
    array = SystolicArray(rows, cols)
    fault_map = random_map(0.4, seed, array)
    layer = nn.Linear(inputs, outputs, bias=False).double()
    weight = rng.integers(-128, 128, (outputs, inputs))
    vector = rng.integers(-128, 128, inputs)
    layer.weight.data = torch.from_numpy(weight).double()
    mask_model(layer, fault_map, array)
    expected = walk_linear(vector, weight, fault_map.faulty)
    np.testing.assert_array_equal(
        layer(torch.from_numpy(vector).double()).detach().numpy(), expected
    )


@pytest.mark.parametrize("order", ORDERS)
def test_a_model_of_the_fused_map_is_bit_identical_on_every_member(order):
    array = SystolicArray(16, 16, order)
    members = [random_map(0.1, seed, array) for seed in range(4)]
    fused = members[0] | members[1] | members[2] | members[3]
    model = mask_model(ResNet(8, 10, 1), fused, array).eval()
    x = torch.randn(5, 1, 8, 8)
    expected = model(x)
    for member in members:
        on_chip = mask_model(copy.deepcopy(model), member, array)
        assert torch.equal(on_chip(x), expected)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_keeps_its_masks_and_trains_masked(clone):
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    keep_masked(model, torch.optim.SGD(model.parameters(), 0.1))
    other = clone(model)
    built = torch.optim.SGD(other.parameters(), 0.1, momentum=0.9)
    keep_masked(other, built)
    seen = watch_forwards(other)
    train(other, built)
    verify_masks(other)
    assert not any(seen)
    assert not torch.equal(other[0].weight, model[0].weight)


def test_a_state_dict_is_that_of_the_plain_model_and_reloading_masks_again():
    plain = small_net()
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    assert list(model.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(small_net().state_dict(), strict=True)  # weights without zeros
    verify_masks(model)
    assert all(int((getattr(layer, MASK) == 0).sum()) for layer in masked_layers(model).values())


@pytest.mark.parametrize("first", ["mask", "load"])
def test_tensors_that_a_caller_assigns_stay_as_they_are(first):
    given, model = small_net().state_dict(), small_net()
    before = copy.deepcopy(given)
    if first == "mask":
        mask_model(model, random_map(0.5), ARRAY).load_state_dict(given, assign=True)
    else:
        model.load_state_dict(given, assign=True)
        mask_model(model, random_map(0.5), ARRAY)
    verify_masks(model)
    assert all(torch.equal(given[name], value) for name, value in before.items())


def test_masks_follow_a_change_of_dtype():
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    built = torch.optim.SGD(model.parameters(), 0.1)
    keep_masked(model, built)
    model.double()
    for x, y in batches(2):
        functional.cross_entropy(model(x.double()), y).backward()
        built.step()
    verify_masks(model)


def test_detaching_lets_all_weights_train():
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    built = torch.optim.SGD(model.parameters(), 0.1)
    for handle in keep_masked(model, built):
        handle.remove()
    train(model, built)
    with pytest.raises(EfatError, match="pruned weights are not 0"):
        verify_masks(model)
