"""Which channel goes to which column, and which input to which row."""

import copy
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from efat import FaultMap, SystolicArray, mask_model
from efat.hardware.mapping import Slots
from efat.nn.masking import masked_weights
from efat.nn.repair import (
    compensate,
    measure_grams,
    remap,
)
from efat.nn.repair.batch_norm import has_intercept
from efat.nn.repair.remap_costs import CompensatedCosts
from efat.nn.repair.weight_matrices import weight_matrices
from efat.nn.saliency import magnitude_saliency
from tests.nn.repair.nets import LAYERS, a_map, correlated, layer_and_inputs, small_net


def test_an_assignment_is_the_best_of_all():
    """Against every permutation, with the error measured by compensating and running."""
    from itertools import permutations

    torch.manual_seed(0)
    array = SystolicArray(4, 4)
    model, x = nn.Sequential(nn.Linear(11, 4)), correlated(80, 11)
    fault_map, grams = a_map(2, 0.4, array), measure_grams(model, [x])

    def left(order):
        placement = {"0.weight": Slots(np.array([order]))}
        repaired = compensate(model, fault_map, array, grams, placement=placement)
        return (repaired(x) - model(x)).square().sum(1).mean().item()

    chosen = remap(model, fault_map, array, grams)["0.weight"].columns[0]
    errors = {order: left(order) for order in permutations(range(4))}
    assert errors[tuple(chosen.tolist())] == pytest.approx(min(errors.values()), rel=1e-4)
    assert max(errors.values()) > 1.05 * min(errors.values())


def test_remapping_with_compensation_beats_either_alone():
    model, x = small_net(), correlated(200, 1, 8, 8)
    array = SystolicArray(5, 16)
    fault_map, grams = a_map(1, 0.35, array), measure_grams(model, [x])
    placement = remap(model, fault_map, array, grams)

    def error(net):
        return (net(x) - model(x)).square().mean().item()

    both = error(compensate(model, fault_map, array, grams, placement=placement))
    masked = mask_model(copy.deepcopy(model), fault_map, array, placement=placement)
    assert both < error(compensate(model, fault_map, array, grams))
    assert both < error(masked)


def test_the_channel_that_is_amplified_most_goes_first():
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval(), correlated(9, 3, 7, 7)
    torch.nn.init.constant_(model[0].weight, 0.1)  # all alike but for the gain
    array, faulty = SystolicArray(5, 4), np.zeros((5, 4), dtype=bool)
    faulty[:2, 1:] = True  # column 0 alone is healthy
    for loud in range(4):
        model[1].weight.data = torch.ones(4).index_fill(0, torch.tensor(loud), -3.0)
        placement = remap(model, FaultMap(faulty), array, measure_grams(model, [x]))
        assert placement["0.weight"].columns[0, loud] == 0


def losses(model, product, fault_map, array, grams, placement):
    """Return the error that compensation leaves, of each group, by running linear algebra alone."""
    masked = mask_model(copy.deepcopy(model), fault_map, array, placement=placement)
    surviving = product.matrix(masked_weights(masked)["0.weight"].mask) > 0
    weights = product.matrix(product.weight.tensor)
    gram, gains = grams.of("0.weight", product), torch.ones_like(weights[:, 0])
    centred = has_intercept("0.weight", product, grams.norms)
    kept_columns = CompensatedCosts(weights, gram, centred, gains, 1e-3)
    return kept_columns.of_columns(surviving).diagonal(dim1=1, dim2=2).sum(1)


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(sorted(LAYERS)),
    order=st.sampled_from(["im2col", "channel"]),
    seed=st.integers(0, 99),
    rate=st.floats(0.05, 0.9),
)
def test_rows_and_columns_lose_no_more_than_columns_alone(kind, order, seed, rate):
    model, x = layer_and_inputs(kind, seed)
    array = SystolicArray(5, 4, order)
    fault_map, grams = a_map(seed, rate, array), measure_grams(model, [x])
    (product,) = weight_matrices(model).values()
    columns, both = (
        losses(model, product, fault_map, array, grams,
               remap(model, fault_map, array, grams, rows=rows))
        for rows in (False, True)
    )  # fmt: skip
    assert (both <= columns * (1 + 1e-9) + 1e-12).all()


def test_rows_stay_where_moving_them_loses_more():
    """An input's twin makes up for it, which its worth by itself does not say."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 1)), torch.randn(400, 4)
    torch.nn.init.ones_(model[0].weight)
    x[:, 1] = x[:, 0] = 3 * x[:, 0]
    array, grams = SystolicArray(4, 1), measure_grams(model, [x])
    fault_map = FaultMap(np.arange(4)[:, None] == 0)  # input 0's row
    placement = remap(model, fault_map, array, grams, rows=True)
    assert placement["0.weight"].rows.tolist() == [[0, 1, 2, 3]]
    repaired = compensate(model, fault_map, array, grams, placement=placement)
    torch.testing.assert_close(repaired(x), model(x), rtol=1e-2, atol=1e-2)


def test_rows_help_where_columns_cannot():
    """All columns alike, one healthy row in two: the inputs that matter go to the healthy rows."""
    model, x = nn.Sequential(nn.Linear(8, 4)), torch.randn(200, 8)
    model[0].weight.data = torch.ones(4, 8) * torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0])
    faulty = np.tile(np.arange(4)[:, None] % 2 == 0, (1, 4))  # two folds of four rows
    fault_map, array = FaultMap(faulty), SystolicArray(4, 4)
    grams = measure_grams(model, [x])
    for by in (grams, magnitude_saliency(model)):
        placement = remap(model, fault_map, array, by, rows=True)
        masked = mask_model(copy.deepcopy(model), fault_map, array, placement=placement)
        assert torch.equal(masked(x), model(x))
        alone = mask_model(
            copy.deepcopy(model), fault_map, array, placement=remap(model, fault_map, array, by)
        )
        assert (alone(x) - model(x)).abs().mean() > 0.5


def test_many_inputs_are_assigned_in_blocks(monkeypatch):
    model = nn.Sequential(nn.Linear(50, 6))
    array, grams = SystolicArray(7, 4), measure_grams(model, [correlated(90, 50)])
    fault_map = a_map(3, 0.4, array)
    (product,) = weight_matrices(model).values()
    lost = {}
    for block in (1024, 20):
        monkeypatch.setattr(sys.modules[remap.__module__], "BLOCK", block)
        placement = remap(model, fault_map, array, grams, rows=True)
        (rows,) = placement["0.weight"].rows
        assert len(set(rows.tolist())) == 50
        assert 0 <= rows.min() <= rows.max() < 56
        lost[block] = losses(model, product, fault_map, array, grams, placement).item()
    alone = remap(model, fault_map, array, grams)
    assert lost[20] < 0.8 * losses(model, product, fault_map, array, grams, alone).item()


def test_magnitude_takes_the_least_weights_away():
    model = small_net()
    grams = measure_grams(model, [correlated(40, 1, 8, 8)])
    array = SystolicArray(5, 16)
    pruned = {}
    for cost, by in (("magnitude", magnitude_saliency(model)), ("compensated", grams)):
        placement = remap(model, a_map(1, 0.35, array), array, by)
        masked = mask_model(copy.deepcopy(model), a_map(1, 0.35, array), array, (), placement)
        pruned[cost] = model[6].weight.abs()[masked[6].weight == 0].sum().item()
    assert pruned["magnitude"] < pruned["compensated"]
