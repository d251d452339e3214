"""BatchNorm statistics under the mask; scale and shift without BatchNorm."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from efat import EfatError, FaultMap, mask_model, verify_masks
from efat.models.resnet import ResNet
from efat.nn.repair import (
    recalibrate,
    rescale,
)
from tests.nn.repair.nets import ARRAY, LAYERS, Attention, a_map, correlated, small_net


def test_recalibration_fits_the_statistics_to_the_mask():
    model, x = ResNet(8, 10, 1, 4).eval(), correlated(64, 1, 8, 8)
    masked = mask_model(copy.deepcopy(model), a_map(0), ARRAY)
    fresh = recalibrate(masked, [x])
    first = masked.conv1(x)
    torch.testing.assert_close(fresh.bn1.running_mean, first.mean(dim=(0, 2, 3)))
    assert torch.equal(masked.bn1.running_mean, torch.zeros(4))
    assert not fresh.training
    verify_masks(fresh)
    with pytest.raises(EfatError, match="no BatchNorm"):
        recalibrate(nn.Linear(2, 2), [x])


RESCALED = {kind: LAYERS[kind] for kind in ("conv", "grouped", "transposed", "linear")} | {
    "no bias": LAYERS["conv, no bias"],
    "sequence": (lambda: nn.Linear(13, 9), (12, 5, 13)),
}


@pytest.mark.parametrize("kind", RESCALED)
def test_rescaling_is_least_squares_a_channel(kind):
    torch.manual_seed(0)
    make, shape = RESCALED[kind]
    model, x = nn.Sequential(make()), correlated(*shape) + 3  # a mean that is not small
    masked = mask_model(copy.deepcopy(model), a_map(1), ARRAY)
    rescaled = rescale(model, masked, x)
    verify_masks(rescaled)
    axis = 1 if isinstance(model[0], nn.Conv2d | nn.ConvTranspose2d) else -1
    given, wanted, reached = (
        net(x).movedim(axis, -1).flatten(0, -2).detach().double().numpy()
        for net in (masked, model, rescaled)
    )
    for channel in range(given.shape[1]):
        columns = [given[:, channel]]
        if model[0].bias is not None:
            columns.append(np.ones(len(given)))
        a = np.stack(columns, axis=1)
        best = a @ np.linalg.lstsq(a, wanted[:, channel], rcond=None)[0]
        np.testing.assert_allclose(reached[:, channel], best, rtol=1e-3, atol=2e-3)


def test_rescaling_goes_through_the_layers_rescaled_before():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 6))
    x, fault_map = correlated(300, 12), a_map(2, 0.4)
    masked = mask_model(copy.deepcopy(model), fault_map, ARRAY)
    rescaled = rescale(model, masked, x)
    first, last = (net(x).detach() for net in (rescaled[:1], rescaled))
    torch.testing.assert_close(first.mean(0), model[:1](x).mean(0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(last.mean(0), model(x).mean(0), rtol=1e-3, atol=1e-4)
    tail = rescale(model[2:], masked[2:], rescaled[:2](x).detach())  # fault-free inputs there
    assert not torch.allclose(tail[0].bias, rescaled[2].bias)
    errors = [(net(x) - model(x)).square().mean().item() for net in (masked, rescaled)]
    assert errors[1] < 0.5 * errors[0]


def test_rescaling_without_faults_changes_nothing():
    model, x = small_net(), correlated(40, 1, 8, 8)
    healthy = mask_model(copy.deepcopy(model), FaultMap.none(5, 4), ARRAY)
    for name, value in rescale(model, healthy, x).state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    dead = mask_model(copy.deepcopy(model), FaultMap(np.ones((5, 4), bool)), ARRAY)
    assert all(torch.isfinite(v).all() for v in rescale(model, dead, x).state_dict().values())
    with pytest.raises(EfatError, match="no mask on weights"):
        rescale(model, model, x)
    with pytest.raises(EfatError, match="rescale: attention 'attention' found"):
        rescale(Attention(), Attention(), x)
