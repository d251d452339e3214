"""Layers whose Gram matrix would be too large: cut into blocks of inputs."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from efat import FaultMap, SystolicArray, mask_model, verify_masks
from efat.nn.repair import Gram, Grams, compensate, compensate_sequentially, measure_grams, remap
from efat.nn.repair.gram import LARGEST
from efat.nn.repair.moments import RowSample
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


def same_weights(one, other):
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_limit_above_all_layers_changes_nothing():
    model, x = small_net(), correlated(40, 1, 8, 8)
    fault_map, grams = a_map(0), measure_grams(model, [x])
    exact = measure_grams(model, [x], largest=81)  # the inputs of the widest layer
    assert grams.blocked == exact.blocked == {}
    assert same_weights(*(compensate(model, fault_map, ARRAY, g) for g in (grams, exact)))
    assert measure_grams(model, [x], largest=80).blocked == {"9.weight": 2}
    assert LARGEST > 4096  # a transformer's layers are whole


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(LAYERS)),
    seed=st.integers(0, 99),
    rate=st.floats(0, 1),
    largest=st.sampled_from([1, 5, 9]),
)
def test_blocks_are_never_worse_than_masked(kind, seed, rate, largest):
    model, x = layer_and_inputs(kind, seed)
    fault_map = a_map(seed, rate)
    masked = mask_model(copy.deepcopy(model), fault_map, ARRAY)
    grams = measure_grams(model, [x], largest=largest)
    repaired = compensate(model, fault_map, ARRAY, grams)
    sequential = compensate_sequentially(model, fault_map, ARRAY, x, largest=largest)
    worst = reconstruction(masked, model, x) * (1 + 1e-6) + 1e-9
    for network in (repaired, sequential):
        verify_masks(network)
        assert reconstruction(network, model.float(), x) <= worst


def opposed():
    """Two blocks whose lost inputs cancel out, so that making up for them in each does harm."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 1)), torch.randn(40, 2).repeat(1, 2)
    x[:, 1], x[:, 3] = 0.8 * x[:, 0] + torch.randn(40), -0.8 * x[:, 0] + torch.randn(40)
    model[0].weight.data = torch.tensor([[1.0, 0, -1, 0]])
    return model, x, FaultMap(torch.tensor([[1, 0, 1, 0]]).bool().T.numpy()), SystolicArray(4, 1)


def test_an_update_that_would_do_harm_is_scaled_back():
    model, x, fault_map, array = opposed()
    masked = mask_model(copy.deepcopy(model), fault_map, array)
    assert reconstruction(masked, model, x) < 1e-9
    model, masked = model.float(), masked.float()
    grams = measure_grams(model, [x], largest=2)
    held = grams.by_weight["0.weight"]
    assert reconstruction(compensate(model, fault_map, array, grams), model, x) < 1e-9
    free = Grams({"0.weight": Gram(held.mean, held.covariance)}, {})  # no rows to see it on
    assert reconstruction(compensate(model.float(), fault_map, array, free), model, x) > 0.1


def unrelated_blocks(bias):
    """Inputs that have nothing to do with those of the other block, and are as large."""
    torch.manual_seed(0)
    half = torch.linalg.qr(torch.randn(64, 12) - 0.5)[0]  # orthogonal
    half = torch.linalg.qr(half - half.mean(0))[0]
    mixed = torch.cat([half[:, :6] @ torch.randn(6, 6), half[:, 6:] @ torch.randn(6, 6)], dim=1)
    for block in (mixed[:, :6], mixed[:, 6:]):
        block /= block.square().mean().sqrt()
    return nn.Sequential(nn.Linear(12, 5, bias=bias)), mixed


@pytest.mark.parametrize("bias", [True, False])
def test_blocks_that_have_nothing_in_common_are_the_whole(bias):
    model, x = unrelated_blocks(bias)
    fault_map, whole = a_map(1), measure_grams(model, [x])
    blocks = measure_grams(model, [x], largest=6)
    assert blocks.blocked == {"0.weight": 2}
    both = {name: remap(model, fault_map, ARRAY, g) for name, g in (("w", whole), ("b", blocks))}
    assert (both["w"]["0.weight"].columns == both["b"]["0.weight"].columns).all()
    masked = mask_model(copy.deepcopy(model), fault_map, ARRAY)
    for one, other in (
        (
            compensate(model, fault_map, ARRAY, whole),
            compensate(model, fault_map, ARRAY, blocks),
        ),
        (
            compensate_sequentially(model, fault_map, ARRAY, x),
            compensate_sequentially(model, fault_map, ARRAY, x, largest=6),
        ),
    ):
        assert not same_weights(one, masked)
        torch.testing.assert_close(one[0].weight, other[0].weight, rtol=1e-4, atol=1e-5)


def test_a_block_makes_up_for_its_own():
    """As the whole layer would with nothing known of the other inputs."""
    model, x = nn.Sequential(nn.Linear(12, 5)), correlated(200, 12)
    fault_map = a_map(1)
    whole, blocks = (measure_grams(model, [x], largest=n).by_weight["0.weight"] for n in (12, 6))
    whole.covariance[:, :6, 6:] = whole.covariance[:, 6:, :6] = 0
    one, other = (
        compensate(
            model, fault_map, ARRAY, Grams({"0.weight": Gram(g.mean, g.covariance)}, {}), ridge=1e-9
        )
        for g in (whole, blocks)
    )
    torch.testing.assert_close(one[0].weight, other[0].weight, rtol=1e-4, atol=1e-5)


def test_blocks_of_a_convolution_are_whole_channels():
    model, x = nn.Sequential(nn.Conv2d(5, 4, 3)), correlated(20, 5, 6, 6)
    gram = measure_grams(model, [x], largest=20).by_weight["0.weight"]
    assert [cut.stop - cut.start for cut in gram.cuts] == [18, 18, 9]
    whole = measure_grams(model, [x]).by_weight["0.weight"]
    for cut, block in gram.blocks(centred=True):
        torch.testing.assert_close(block, whole.covariance[:, cut, cut], rtol=1e-5, atol=1e-6)
    for cut, block in gram.blocks(centred=False):
        ((_, moments),) = whole.blocks(centred=False)
        torch.testing.assert_close(block, moments[:, cut, cut], rtol=1e-5, atol=1e-6)


def test_an_attention_is_repaired_in_blocks():
    torch.manual_seed(0)
    model, x, fault_map = Attention().eval(), correlated(50, 6, 8), a_map(0, 0.2)
    grams = measure_grams(model, [x], largest=4)
    assert set(grams.blocked.values()) == {2}
    placement = remap(model, fault_map, ARRAY, grams, rows=True)
    repaired = compensate(model, fault_map, ARRAY, grams, placement=placement)
    verify_masks(repaired)
    masked = mask_model(copy.deepcopy(model), fault_map, ARRAY, placement=placement)
    errors = [(net(x) - model(x)).square().mean() for net in (masked, repaired)]
    assert errors[1] < errors[0]


def test_blocks_come_back_from_their_file(tmp_path):
    model, x = small_net(), correlated(40, 1, 8, 8)
    grams = measure_grams(model, [x], largest=30)
    grams.save(tmp_path / "grams.safetensors")
    read = Grams.load(tmp_path / "grams.safetensors")
    assert read.blocked == grams.blocked == {"6.weight": 2, "9.weight": 3}
    assert torch.equal(read.by_weight["9.weight"].rows, grams.by_weight["9.weight"].rows)
    assert read.by_weight["0.weight"].rows is None
    repaired = (compensate(model, a_map(0), ARRAY, g) for g in (grams, read))
    assert same_weights(*repaired)


@pytest.mark.parametrize("pieces", [(100,), (1, 2, 30, 67), (1,) * 100])
def test_rows_are_kept_evenly_however_they_come(pieces):
    kept, rows = RowSample(16), torch.arange(100.0)[None, :, None].clone()
    for piece in rows.split(pieces, dim=1):
        kept.add(piece)
        piece += 1000  # what comes after may work in place
    assert kept.rows.flatten().tolist() == list(range(0, 100, 8))


class Largest(TorchDispatchMode):
    """Watches how many elements the largest tensor has that torch makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("largest", [40, 400])
def test_no_matrix_of_all_inputs_is_ever_made(largest):
    model, x, fault_map = nn.Sequential(nn.Linear(400, 6)), correlated(16, 400), a_map(0)
    with Largest() as seen:
        grams = measure_grams(model, [x], largest=largest)
        placement = remap(model, fault_map, ARRAY, grams)
        compensate(model, fault_map, ARRAY, grams, placement=placement)
        compensate_sequentially(model, fault_map, ARRAY, x, largest=largest)
    assert seen.elements == 400 * largest
    (product,) = weight_matrices(model).values()
    assert grams.of("0.weight", product).covariance.shape == (1, 400, largest)
