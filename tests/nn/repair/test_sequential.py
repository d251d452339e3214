"""Sequential compensation: each layer fitted to what reaches it."""

import copy

import numpy as np

from efat import mask_model
from efat.nn.repair import (
    compensate,
    compensate_sequentially,
    measure_grams,
)
from tests.nn.repair.nets import ARRAY, a_map, correlated, small_net


def test_sequential_fits_each_layer_to_the_inputs_it_really_has():
    model, x = small_net(), correlated(200, 1, 8, 8)
    fault_map = a_map(3, 0.35)
    target = model(x)
    errors = [
        (repaired(x) - target).square().mean().item()
        for repaired in (
            mask_model(copy.deepcopy(model), fault_map, ARRAY),
            compensate(model, fault_map, ARRAY, measure_grams(model, [x])),
            compensate_sequentially(model, fault_map, ARRAY, x),
        )
    ]
    assert errors[2] < errors[1] < errors[0]


def test_the_last_layer_of_sequential_is_least_squares_on_repaired_inputs():
    model, x = small_net(), correlated(200, 1, 8, 8)
    fault_map = a_map(3, 0.35)
    repaired = compensate_sequentially(model, fault_map, ARRAY, x)
    reached = repaired[:9](x).double().detach().numpy()
    target = model(x).double().detach().numpy()
    rows, wanted = reached - reached.mean(0), target - target.mean(0)
    damping = 1e-3 * (rows**2).sum(0).mean()
    keep = repaired[9]._efat_weight_mask.bool().numpy()
    start = model[9].weight.double().detach().numpy()
    for m in range(5):
        s = keep[m]
        a = np.vstack([rows[:, s], np.sqrt(damping) * np.eye(s.sum())])
        b = np.concatenate([wanted[:, m], np.sqrt(damping) * start[m, s]])
        found = np.linalg.lstsq(a, b, rcond=None)[0]
        np.testing.assert_allclose(repaired[9].weight[m, s].detach(), found, rtol=5e-3, atol=1e-4)
