"""Compensation from Gram matrices, against slow references."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from efat import EfatError, FaultMap, SystolicArray, mask_model, verify_masks
from efat.nn.lowering import lower_inputs, unfold_outputs
from efat.nn.masking import masked_weights
from efat.nn.repair import (
    compensate,
    compensate_sequentially,
    measure_grams,
)
from efat.nn.repair.weight_matrices import weight_matrices
from tests.nn.repair.nets import (
    ARRAY,
    LAYERS,
    Attention,
    a_map,
    correlated,
    layer_and_inputs,
    reconstruction,
    small_net,
)


def by_least_squares(layer, keep, x, ridge):
    """Solve for each channel on its own, rows stacked, by NumPy's lstsq."""
    inputs = lower_inputs(layer, x).flatten(2).double().numpy()
    (product,) = weight_matrices(nn.Sequential(layer)).values()
    weights = product.matrix(layer.weight).numpy()
    keep = product.matrix(keep).numpy() > 0
    found = np.zeros_like(weights)
    for g in range(weights.shape[0]):
        rows = inputs[g] if layer.bias is None else inputs[g] - inputs[g].mean(0)
        damping = ridge * (rows**2).sum(0).mean()
        for m in range(weights.shape[2]):
            s = keep[g, :, m]
            wanted = rows @ weights[g, :, m]
            a = np.vstack([rows[:, s], np.sqrt(damping) * np.eye(s.sum())])
            b = np.concatenate([wanted, np.sqrt(damping) * weights[g, s, m]])
            found[g, s, m] = np.linalg.lstsq(a, b, rcond=None)[0]
    return found


@pytest.mark.parametrize("order", ["im2col", "im2col_spatial_first", "channel"])
@pytest.mark.parametrize("kind", LAYERS)
def test_compensation_is_least_squares_a_channel(kind, order):
    model, x = layer_and_inputs(kind)
    array = SystolicArray(5, 4, order)
    fault_map = a_map(1, array=array)
    repaired = compensate(model, fault_map, array, measure_grams(model, [x]), ridge=1e-2)
    (weight,) = masked_weights(repaired).values()
    (product,) = weight_matrices(repaired).values()
    wanted = by_least_squares(model[0], weight.mask, x, 1e-2)
    np.testing.assert_allclose(product.matrix(repaired[0].weight), wanted, rtol=2e-3, atol=1e-4)
    verify_masks(repaired)
    if model[0].bias is not None:  # the mean output is the fault-free one
        means = [unfold_outputs(m[0], m(x)).mean(1) for m in (repaired, model)]
        torch.testing.assert_close(*means, rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(LAYERS)),
    seed=st.integers(0, 99),
    rate=st.floats(0, 1),
    ridge=st.sampled_from([1e-4, 1e-3, 1.0]),
)
def test_reconstruction_is_never_worse_than_masked(kind, seed, rate, ridge):
    model, x = layer_and_inputs(kind, seed)
    fault_map = a_map(seed, rate)
    masked = mask_model(copy.deepcopy(model), fault_map, ARRAY)
    repaired = compensate(model, fault_map, ARRAY, measure_grams(model, [x]), ridge=ridge)
    sequential = compensate_sequentially(model, fault_map, ARRAY, x, ridge=ridge)
    worst = reconstruction(masked, model, x) * (1 + 1e-6) + 1e-9
    model = model.float()
    assert reconstruction(repaired, model, x) <= worst
    assert reconstruction(sequential, model.float(), x) <= worst


def test_no_fault_leaves_everything_as_it_is():
    model, x = small_net(), correlated(40, 1, 8, 8)
    none = FaultMap.none(5, 4)
    for repaired in (
        compensate(model, none, ARRAY, measure_grams(model, [x])),
        compensate_sequentially(model, none, ARRAY, x),
    ):
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, repaired.state_dict()[name]), name


def test_the_model_given_stays_as_it_is():
    model, x = small_net(), correlated(40, 1, 8, 8)
    before = copy.deepcopy(model.state_dict())
    grams = measure_grams(model, [x])
    compensate(model, a_map(0), ARRAY, grams)
    compensate_sequentially(model, a_map(0), ARRAY, x)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_shift_goes_into_the_norm_that_follows():
    model, x = small_net(), correlated(40, 1, 8, 8)
    grams = measure_grams(model, [x])
    assert grams.norms == {"0.weight": "1", "3.weight": "4", "6.weight": "7"}
    assert a_map(3).faulty[:, 0].any()  # where every channel of a depthwise layer is
    repaired = compensate(model, a_map(3), ARRAY, grams)
    means = [m[:2](x).mean(dim=(0, 2, 3)) for m in (model, repaired)]
    torch.testing.assert_close(*means, rtol=1e-4, atol=1e-4)
    assert not torch.equal(model[1].running_mean, repaired[1].running_mean)
    assert not torch.equal(model[3].bias, repaired[3].bias)  # a bias comes first
    assert torch.equal(model[4].running_mean, repaired[4].running_mean)


def test_attention_projections_are_compensated():
    torch.manual_seed(0)
    model, x = Attention().eval(), correlated(50, 6, 8)
    fault_map = a_map(0, 0.2)
    grams = measure_grams(model, [x])
    masked = mask_model(copy.deepcopy(model), fault_map, ARRAY)
    repaired = compensate(model, fault_map, ARRAY, grams)
    verify_masks(repaired)

    def keys(net):
        return nn.functional.linear(
            x + 1, net.attention.in_proj_weight[8:16], net.attention.in_proj_bias[8:16]
        )

    errors = [(keys(net) - keys(model)).square().mean() for net in (masked, repaired)]
    assert errors[1] < 0.5 * errors[0]
    with pytest.raises(EfatError, match="use compensate"):
        compensate_sequentially(model, fault_map, ARRAY, x)
