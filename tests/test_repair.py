"""Repair in closed form, against slow references and the emulated array."""

import copy
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from efat import EfatError, FaultMap, SystolicArray, mask_model, verify_masks
from efat.emulation import ArrayFaults, StuckAt, emulate
from efat.emulation.gemm import multiply
from efat.lowering import lower_inputs, lower_outputs
from efat.mapping import Slots
from efat.masking import masked_weights
from efat.models.resnet import ResNet
from efat.repair import (
    Grams,
    compensate,
    compensate_sequentially,
    load_repaired,
    measure_grams,
    recalibrate,
    remap,
    rescale,
    save_repaired,
)
from efat.repair.costs import CompensatedCosts
from efat.repair.products import products_of
from efat.repair.solve import RidgeSystem
from efat.saliency import magnitude_saliency

ARRAY = SystolicArray(5, 4)


def a_map(seed, rate=0.3, array=ARRAY):
    rng = np.random.default_rng(seed)
    return FaultMap(rng.random((array.rows, array.cols)) < rate)


def correlated(*shape, seed=0):
    """Inputs with a mean and with neighbours that resemble each other, as activations do."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    return (x + x.roll(1, 1) + x.roll(1, -1)).relu()


LAYERS = {
    "conv": (lambda: nn.Conv2d(3, 7, 3, padding=1), (6, 3, 5, 5)),
    "conv, no bias": (lambda: nn.Conv2d(3, 7, 3, stride=2, bias=False), (9, 3, 7, 7)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (6, 4, 6, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (6, 4, 6, 6)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 5, 3, stride=2), (6, 3, 5, 5)),
    "linear": (lambda: nn.Linear(13, 9), (60, 13)),
    "linear, no bias": (lambda: nn.Linear(13, 9, bias=False), (60, 13)),
}


def layer_and_inputs(kind, seed=0):
    torch.manual_seed(seed)
    make, shape = LAYERS[kind]
    return nn.Sequential(make()), correlated(*shape, seed=seed)


def reconstruction(model, layer, x):
    """Mean squared difference of outputs, in float64."""
    return (model.double()(x.double()) - layer.double()(x.double())).square().mean().item()


def by_least_squares(layer, keep, x, ridge):
    """Solve for each channel on its own, rows stacked, by NumPy's lstsq."""
    inputs = lower_inputs(layer, x).flatten(2).double().numpy()
    (product,) = products_of(nn.Sequential(layer)).values()
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
    (product,) = products_of(repaired).values()
    wanted = by_least_squares(model[0], weight.mask, x, 1e-2)
    np.testing.assert_allclose(product.matrix(repaired[0].weight), wanted, rtol=2e-3, atol=1e-4)
    verify_masks(repaired)
    if model[0].bias is not None:  # the mean output is the fault-free one
        means = [lower_outputs(m[0], m(x)).mean(1) for m in (repaired, model)]
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


def small_net(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 9, 3, stride=2, bias=False),
        nn.BatchNorm2d(9),
        nn.Flatten(),
        nn.Linear(81, 5),
    )
    model.train()(correlated(64, 1, 8, 8))
    return model.eval()


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


def test_an_activation_in_place_parts_a_norm_from_its_layer():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(3)).eval()
    assert measure_grams(model, [torch.randn(4, 1, 8, 8)]).norms == {}


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


def test_batches_add_up():
    model, x = small_net(), correlated(40, 1, 8, 8) + 50  # a large mean would cancel
    whole = measure_grams(model, [x])
    parts = measure_grams(model, [(part, None) for part in x.split(7)])
    rows = lower_inputs(model[0], x).flatten(2)[0].double()
    wanted = torch.cov(rows.T, correction=0)
    for grams in (whole, parts):
        gram = grams.by_weight["0.weight"]
        torch.testing.assert_close(gram.covariance[0], wanted, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(gram.mean[0], rows.mean(0), rtol=1e-5, atol=1e-4)


def test_grams_come_back_from_their_file(tmp_path):
    model, x = small_net(), correlated(40, 1, 8, 8)
    grams = measure_grams(model, [x])
    grams.save(tmp_path / "grams.safetensors")
    read = Grams.load(tmp_path / "grams.safetensors")
    assert read.norms == grams.norms
    assert read.by_weight.keys() == grams.by_weight.keys()
    for name, gram in grams.by_weight.items():
        assert torch.equal(gram.covariance, read.by_weight[name].covariance)
        assert torch.equal(gram.mean, read.by_weight[name].mean)
    (tmp_path / "bad").write_bytes(b"no tensors")
    with pytest.raises(EfatError, match="not a file of Gram matrices"):
        Grams.load(tmp_path / "bad")


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        return self.linear(self.attention(x, x + 1, x)[0])


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
    (product,) = products_of(model).values()
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


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_both_ways_to_solve_are_the_plain_one(rate):
    torch.manual_seed(0)
    rows, weights = torch.randn(2, 60, 12).double(), torch.randn(2, 12, 3).double()
    gram, kept = rows.transpose(1, 2) @ rows, torch.rand(12) >= rate
    system, right = RidgeSystem(gram, 0.01), torch.randn(1, 12, 3).double()
    solved = system.solve(kept, right, torch.tensor([1]))
    left = system.errors_left(weights, kept, torch.arange(2))
    for g in range(2):
        damping = 0.01 * gram[g].diagonal().mean()
        matrix = (gram[g] + damping * torch.eye(12))[kept][:, kept]
        if g == 1:
            wanted = torch.zeros(12, 3).double()
            wanted[kept] = torch.linalg.solve(matrix, right[0, kept])
            torch.testing.assert_close(solved[0], wanted)
        difference = -weights[g]
        difference[kept] = torch.linalg.solve(matrix, gram[g][kept][:, ~kept] @ weights[g][~kept])
        wanted = (difference * (gram[g] @ difference)).sum(0)
        torch.testing.assert_close(left[g], wanted, rtol=1e-8, atol=1e-9)


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


def test_costs_are_the_errors_that_are_left():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2)), correlated(8, 4, 6, 6)
    fault_map, grams = a_map(4), measure_grams(model, [x])
    (product,) = products_of(model).values()
    surviving = torch.from_numpy(~fault_map.faulty)[torch.arange(18) % ARRAY.rows][None]
    weights = product.matrix(model[0].weight)
    gram = grams.matrix("0.weight", product)
    costs = CompensatedCosts(weights, gram, torch.ones(2, 3), 1e-3).of_columns(surviving)
    repaired = compensate(model, fault_map, ARRAY, grams)
    errors = (repaired(x) - model(x)).double().square().mean(dim=(0, 2, 3)).reshape(2, 3)
    torch.testing.assert_close(errors.detach(), costs[:, range(3), range(3)], rtol=1e-3, atol=1e-7)


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
    gram = grams.matrix("0.weight", product)
    kept_columns = CompensatedCosts(weights, gram, torch.ones_like(weights[:, 0]), 1e-3)
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
    (product,) = products_of(model).values()
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
    (product,) = products_of(model).values()
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


def test_a_repaired_network_comes_back_with_its_placement(tmp_path):
    model, x = small_net(), correlated(40, 1, 8, 8)
    fault_map, grams = a_map(0), measure_grams(model, [x])
    placement = remap(model, fault_map, ARRAY, grams, rows=True)
    placement["6.weight"] = Slots(placement["6.weight"].columns)
    repaired = compensate(model, fault_map, ARRAY, grams, placement=placement)
    save_repaired(tmp_path / "chip.safetensors", repaired, placement)
    state, read = load_repaired(tmp_path / "chip.safetensors")
    assert read["6.weight"].rows is None
    plain = small_net(1)
    plain.load_state_dict(state, strict=True)
    on_array = emulate(plain, ARRAY, ArrayFaults(fault_map), None, placement=read)
    torch.testing.assert_close(on_array(x), repaired(x), rtol=1e-4, atol=1e-4)
    (tmp_path / "bad").write_bytes(b"no tensors")
    with pytest.raises(EfatError, match="not a repaired network"):
        load_repaired(tmp_path / "bad")


def test_files_from_before_rows_are_read(tmp_path):
    header = {"placement": '{"0.weight": [[1, 0, 3]]}'}
    safetensors.torch.save_file({"0.weight": torch.ones(3, 2)}, tmp_path / "old", header)
    _, read = load_repaired(tmp_path / "old")
    assert read["0.weight"].columns.tolist() == [[1, 0, 3]]
    assert read["0.weight"].rows is None
    save_repaired(tmp_path / "new", nn.Linear(2, 3), read)  # and written as they were
    with safetensors.safe_open(tmp_path / "new", "pt") as file:
        assert file.metadata() == header


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


def test_bad_input_is_refused():
    model, x = small_net(), correlated(40, 1, 8, 8)
    grams = measure_grams(model, [x])
    with pytest.raises(EfatError, match=r"ridge: 0\.0 given"):
        compensate(model, a_map(0), ARRAY, grams, ridge=0.0)
    with pytest.raises(EfatError, match="no batch given"):
        measure_grams(model, [])
    with pytest.raises(EfatError, match=r"grams: none for '0\.weight'"):
        compensate(model, a_map(0), ARRAY, Grams({}, {}))
    with pytest.raises(EfatError, match="saliencies: of another network"):
        remap(model, a_map(0), ARRAY, magnitude_saliency(model)[1:])
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    with pytest.raises(EfatError, match="one weight"):
        measure_grams(tied, [torch.randn(3, 4)])


def test_bad_placements_are_all_named():
    model = small_net()
    twice, far = np.zeros((1, 6), dtype=int), np.array([[0, 1, 2, 3, 4, 5, 6, 7, 12]])
    placed = {"0.weight": twice, "6.weight": far, "9.weight": np.zeros(3), "x": twice}
    placement = {name: Slots(columns) for name, columns in placed.items()}
    with pytest.raises(EfatError) as error:
        mask_model(model, a_map(0), ARRAY, placement=placement)
    for part in ("'x' given", "0.weight: slots", "from 0 to 11", "9.weight: slots: float64"):
        assert part in str(error.value)
    good = np.arange(6)[None]
    for rows in (np.zeros((1, 9), int), np.arange(9)[None] + 2, np.arange(8)[None]):
        with pytest.raises(EfatError, match=r"0\.weight: row slots: .* inputs"):
            mask_model(model, a_map(0), ARRAY, placement={"0.weight": Slots(good, rows)})
    array = SystolicArray(5, 4, dataflow="os")
    with pytest.raises(EfatError, match="compensation needs ws"):
        compensate(model, a_map(0), array, measure_grams(model, [correlated(9, 1, 8, 8)]))
    with pytest.raises(EfatError, match="only ws has one"):
        mask_model(model, a_map(0), array, placement={"0.weight": Slots(twice)})


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    text = (Path(__file__).parents[1] / "docs/repair.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "repair.md", "exec"), {})
    assert len(list(tmp_path.glob("chip*.safetensors"))) == 3
