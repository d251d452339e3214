"""Severity measures against sums over pruned weights."""

import numpy as np
import pytest
import torch
from torch import nn

from efat import EfatError, FaultMap, SystolicArray
from efat.hardware.mapping import WeightLayout, pruned_weights
from efat.nn.masking import weight_layouts
from efat.nn.saliency import magnitude_saliency, taylor_saliency
from efat.resilience.severity import array_rate, saliency_rate, weight_rate


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(24, 4)
    )


@pytest.mark.parametrize("order", ["im2col", "im2col_spatial_first", "channel"])
def test_rates_are_shares_of_what_the_map_prunes(order):
    net, array = model(), SystolicArray(5, 3, order)
    fault_map = FaultMap(np.random.default_rng(0).random((5, 3)) < 0.4)
    pruned = [pruned_weights(layout, array, fault_map) for layout in weight_layouts(net)]
    weights = [net[0].weight.detach().numpy(), net[3].weight.detach().numpy()]
    count = sum(p.sum() for p in pruned) / sum(p.size for p in pruned)
    assert weight_rate(weight_layouts(net), array)(fault_map) == pytest.approx(count)
    share = sum(np.abs(w)[p].sum() for w, p in zip(weights, pruned, strict=True))
    share /= sum(np.abs(w).sum() for w in weights)
    measured = saliency_rate(magnitude_saliency(net), array)(fault_map)
    assert measured == pytest.approx(share)
    assert measured != pytest.approx(count, rel=1e-3)
    assert array_rate(fault_map) == fault_map.fault_rate


def test_taylor_saliency_is_weight_times_gradient_of_the_mean_loss():
    net = model().train()
    x, y = torch.randn(10, 3, 4, 4), torch.randint(0, 4, (10,))
    batches = [(x[:7], y[:7]), (x[7:], y[7:])]
    found = taylor_saliency(net, batches)
    assert net.training
    assert net[0].weight.grad is None
    net.eval()
    nn.functional.cross_entropy(net(x), y).backward()
    for (_, saliency), layer in zip(found, (net[0], net[3]), strict=True):
        expected = (layer.weight * layer.weight.grad).abs().detach().numpy()
        np.testing.assert_allclose(saliency, expected, rtol=1e-4, atol=1e-8)


def test_saliencies_that_make_no_sense_are_refused():
    layout, array = WeightLayout((2, 2)), SystolicArray(2, 2)
    for bad in (np.full((2, 2), -1.0), np.full((2, 2), np.nan), np.ones((2, 3))):
        with pytest.raises(EfatError, match=r"saliency: values of shape"):
            saliency_rate([(layout, bad)], array)
    with pytest.raises(EfatError, match=r"saliency: 0 for every weight"):
        saliency_rate([(layout, np.zeros((2, 2)))], array)
    with pytest.raises(EfatError, match=r"no batch"):
        taylor_saliency(model(), [])
    with pytest.raises(EfatError, match=r"array.dataflow: 'os'"):
        weight_rate([layout], SystolicArray(2, 2, dataflow="os"))
