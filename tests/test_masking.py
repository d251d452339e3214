import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from efat import EfatError, FaultMap, SystolicArray, keep_masked, mask_model, verify_masks
from efat.masking import MASK, mapped_layers, masked_layers, unmask_model
from efat.masking.training import ELEMENTWISE, mask_period
from efat.models.mlp import MLP
from efat.models.resnet import ResNet
from tests.reference import walk_conv2d, walk_linear

ARRAY = SystolicArray(4, 4)
ORDERS = ("im2col", "im2col_spatial_first", "channel")


def random_map(rate, seed=1, array=ARRAY):
    rng = np.random.default_rng(seed)
    return FaultMap(rng.random((array.rows, array.cols)) < rate)


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, 5),
    )


def batches(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = torch.randn(8, 2, 6, 6, generator=generator)
        yield x, torch.randint(0, 5, (8,), generator=generator)


def in_layer_order(model):
    """List parameters layer by layer; prune moves its weights behind the biases, and the order in
    which a norm is summed shows in the last bit."""
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        yield from (own[name] for name in ("weight", "weight_orig", "bias") if name in own)


def train(model, optimizer, steps=5, clip=None, accumulate=1, autocast=False):
    for index, (x, y) in enumerate(batches(steps * accumulate)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = functional.cross_entropy(model(x).float(), y)
        loss.backward()
        if (index + 1) % accumulate == 0:
            if clip:
                nn.utils.clip_grad_norm_(in_layer_order(model), clip)
            optimizer.step()
            optimizer.zero_grad()


def watch_forwards(model):
    """Check at every forward of every masked layer that its pruned weights are exactly 0."""
    seen = []

    def check(layer, _):
        seen.append(int(torch.count_nonzero(layer.weight[getattr(layer, MASK) == 0])))

    for layer in masked_layers(model).values():
        layer.register_forward_pre_hook(check)
    return seen


# ---- the masked model is the array ------------------------------------------------------------


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


# ---- pruned weights stay exactly 0 ------------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(
        p, 0.01, momentum=0.9, weight_decay=0.1, centered=True
    ),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1, weight_decay=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, 0.01, weight_decay=0.1, decoupled_weight_decay=True),
}
HOW = {
    "plain": {},
    "clipped": {"clip": 0.1},
    "accumulated": {"accumulate": 3},
    "bf16": {"autocast": True},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("guarded", [False, True])
def test_pruned_weights_are_zero_at_every_forward_and_after_every_step(optimizer, how, guarded):
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    built = OPTIMIZERS[optimizer](model.parameters())
    keep_masked(model, built, guarded)
    seen = watch_forwards(model)
    before = copy.deepcopy(model.state_dict())
    train(model, built, **HOW[how])
    verify_masks(model)
    assert len(seen) >= 15
    assert not any(seen)
    for name, layer in masked_layers(model).items():
        pruned = getattr(layer, MASK) == 0
        assert pruned.any()
        for key, value in built.state[layer.weight].items():
            if torch.is_tensor(value) and value.shape == pruned.shape:
                assert not value[pruned].any(), key
        assert not torch.equal(layer.weight, before[f"{name}.weight"])  # it did train


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("how", ["plain", "clipped", "accumulated"])
def test_healthy_weights_train_as_under_torch_prune(optimizer, how):
    ours = mask_model(small_net(), random_map(0.5), ARRAY)
    theirs = small_net()
    for name, layer in masked_layers(ours).items():
        prune.custom_from_mask(theirs.get_submodule(name), "weight", getattr(layer, MASK))
    for model in (ours, theirs):
        built = OPTIMIZERS[optimizer](model.parameters())
        if model is ours:
            keep_masked(model, built)
        train(model, built, **HOW[how])
    for name, layer in masked_layers(ours).items():
        other = theirs.get_submodule(name)
        other(torch.zeros(1, *_input_shape(other)))  # prune recomputes its weight in forward
        torch.testing.assert_close(layer.weight, other.weight, rtol=0, atol=0)
        torch.testing.assert_close(layer.bias, other.bias, rtol=0, atol=0)


def large_net():
    """Weights so large that only the part of their masks that repeats is read, and one beside."""
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 128, 3).to(memory_format=torch.channels_last)
    return nn.Sequential(conv, nn.Flatten(), nn.Linear(128, 516), nn.Linear(516, 129))


def test_large_weights_train_as_under_torch_prune_and_follow_a_new_mask():
    ours, theirs = mask_model(large_net(), random_map(0.5), ARRAY), large_net()
    masks = {name: getattr(layer, MASK) for name, layer in masked_layers(ours).items()}
    assert [mask_period(mask) for mask in masks.values()] == [4, 12, 129]
    for name, mask in masks.items():
        prune.custom_from_mask(theirs.get_submodule(name), "weight", mask)
    x = torch.randn(8, 64, 3, 3, generator=torch.Generator().manual_seed(1))
    built = {m: OPTIMIZERS["sgd"](m.parameters()) for m in (ours, theirs)}
    keep_masked(ours, built[ours])
    for _ in range(3):
        for model in (ours, theirs):
            built[model].zero_grad()
            model(x).square().mean().backward()
            built[model].step()
    verify_masks(ours)
    theirs(x)
    for name, layer in masked_layers(ours).items():
        torch.testing.assert_close(layer.weight, theirs.get_submodule(name).weight, rtol=0, atol=0)
    mask_model(ours, random_map(0.5, seed=2), ARRAY)
    ours(x).square().mean().backward()
    built[ours].step()
    verify_masks(ours)


def test_the_optimizers_that_are_trusted_are_those_that_are_tried():
    tried = {type(build([nn.Parameter(torch.zeros(1))])) for build in OPTIMIZERS.values()}
    assert tried == set(ELEMENTWISE)


class Mixing(torch.optim.Optimizer):
    """Moves every weight by what it moves the others by, as optimizers on matrices do."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            parameter += 0.01


def _set_by_hand(model, optimizer):
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)


def _load_momentum(model, optimizer):
    copied = copy.deepcopy(model)
    other = torch.optim.SGD(copied.parameters(), 0.1, momentum=0.9)
    _set_by_hand(copied, other)
    other.step()
    optimizer.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("build", "after_backward"),
    [
        (Mixing, lambda *_: None),
        (OPTIMIZERS["sgd"], _load_momentum),
    ],
    ids=["optimizer that mixes", "momentum from elsewhere"],
)
def test_weights_are_masked_where_masked_gradients_are_not_enough(build, after_backward):
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    optimizer = build(model.parameters())
    keep_masked(model, optimizer, guarded=True)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(2, 2, 6, 6)).square().mean().backward()
        after_backward(model, optimizer)
        optimizer.step()
        verify_masks(model)


def test_gradients_by_hand_in_a_guarded_training_are_found_out():
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    keep_masked(model, optimizer, guarded=True)
    _set_by_hand(model, optimizer)
    optimizer.step()
    with pytest.raises(EfatError, match=r"0\.weight: .* pruned weights are not 0"):
        verify_masks(model)


def test_gradients_from_before_the_masking_move_no_pruned_weight():
    model = small_net()
    model(torch.randn(2, 2, 6, 6)).square().mean().backward()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    keep_masked(mask_model(model, random_map(0.5), ARRAY), optimizer, guarded=True)
    optimizer.step()
    verify_masks(model)


def test_gradients_that_processes_exchange_move_no_pruned_weight(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    keep_masked(model, optimizer, guarded=True)
    model(torch.randn(2, 2, 6, 6)).square().mean().backward()
    for parameter in model.parameters():
        parameter.grad.data.fill_(1.0)  # as a bucket is written back: no version counts it
    optimizer.step()
    verify_masks(model)


def test_momentum_from_before_the_masking_moves_no_pruned_weight():
    model = small_net()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    train(model, optimizer)
    keep_masked(mask_model(model, random_map(0.5), ARRAY), optimizer, guarded=True)
    train(model, optimizer)
    verify_masks(model)


def _noise_past_autograd(model):
    for parameter in model.parameters():
        parameter.grad.data.add_(1.0)


def _noise_on_weights(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)


def _another_map(model):
    mask_model(model, random_map(0.5, seed=3), ARRAY)


@pytest.mark.parametrize("between", [_noise_past_autograd, _noise_on_weights, _another_map])
@pytest.mark.parametrize("guarded", [False, True])
def test_what_a_users_own_loop_does_between_backward_and_step(between, guarded):
    if guarded and between is not _another_map:
        pytest.skip("a guarded training is efat's own")
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    keep_masked(model, optimizer, guarded=guarded)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 2, 6, 6)).square().mean().backward()
        between(model)
        optimizer.step()
        verify_masks(model)


def test_a_layer_that_is_thawed_later_has_masked_gradients():
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    weight = model[0].weight.requires_grad_(False)
    keep_masked(model, OPTIMIZERS["sgd"](model.parameters()))
    assert not weight.requires_grad
    weight.requires_grad_(True)
    model(torch.randn(2, 2, 6, 6)).square().mean().backward()
    pruned = getattr(model[0], MASK) == 0
    assert pruned.any()
    assert not weight.grad[pruned].any()


def _input_shape(layer):
    return (layer.in_features,) if isinstance(layer, nn.Linear) else (layer.in_channels, 6, 6)


def test_without_keep_masked_training_breaks_the_mask_and_verify_says_where():
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    train(model, torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(EfatError, match=r"0\.weight: \d+ pruned weights are not 0"):
        verify_masks(model)


def test_gradients_are_masked_before_the_user_clips():
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    keep_masked(model, torch.optim.SGD(model.parameters(), 0.1))
    x, y = next(batches(1))
    functional.cross_entropy(model(x), y).backward()
    for layer in masked_layers(model).values():
        assert not layer.weight.grad[getattr(layer, MASK) == 0].any()


# ---- copies, pickles, checkpoints -------------------------------------------------------------


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


# ---- what does not map ------------------------------------------------------------------------


def test_layers_that_do_not_map_are_all_named():
    model = nn.ModuleDict({"rnn": nn.LSTM(4, 4), "up": nn.Bilinear(2, 2, 2), "fc": nn.Linear(4, 4)})
    with pytest.raises(EfatError) as caught:
        mask_model(model, random_map(0.5), ARRAY)
    assert len(caught.value.problems) == 2
    assert "layer 'rnn' is a LSTM" in str(caught.value)
    assert not masked_layers(model)


def test_a_model_without_a_layer_that_maps_is_refused():
    with pytest.raises(EfatError, match="no layer maps onto the array"):
        mask_model(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)), random_map(0.5), ARRAY)


def test_keep_masked_wants_a_masked_model():
    model = MLP([4, 4])
    with pytest.raises(EfatError, match="call mask_model first"):
        keep_masked(model, torch.optim.SGD(model.parameters(), 0.1))


def test_a_wrong_map_masks_nothing():
    model = small_net()
    with pytest.raises(EfatError, match="3x3 PEs given; the array has 4x4"):
        mask_model(model, FaultMap.none(3, 3), ARRAY)
    assert not masked_layers(model)


def test_mapped_layers_of_a_resnet_are_its_convolutions_and_its_linear_layer():
    names = list(mapped_layers(ResNet(8, 10, 1)))
    assert names[0] == "conv1"
    assert names[-1] == "linear"
    assert len(names) == 8


RECOMPUTED = {
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "parametrize": nn.utils.parametrizations.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
}


@pytest.mark.parametrize("how", RECOMPUTED)
def test_a_weight_that_is_recomputed_is_refused_and_nothing_is_resurrected(how):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    RECOMPUTED[how](model[1])
    x = torch.randn(2, 4)
    before = model.eval()(x)
    with pytest.raises(EfatError, match=r"layer '1': its weight is computed from other tensors"):
        mask_model(model, random_map(0.5), ARRAY)
    assert torch.equal(model(x), before)
    assert list(mapped_layers(model, ["1"])) == ["0"]


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_buffers_of_the_user_are_left_alone(dataflow):
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_buffer("weight_mask", torch.full((4, 4), 7.0))
    model[0].register_buffer("healthy_pes", torch.full((4, 4), 8.0))
    unmask_model(mask_model(model, random_map(0.5), SystolicArray(4, 4, dataflow=dataflow)))
    assert (model[0].weight_mask == 7).all()
    assert (model[0].healthy_pes == 8).all()
    assert not masked_layers(model)


class Standardised(nn.Conv2d):
    """A convolution whose weight is standardised as it is used."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


class Scaled(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight * 2, bias)


class Renamed(nn.Conv2d):
    """A subclass that computes what its parent computes."""


@pytest.mark.parametrize("kind", [Standardised, Scaled])
def test_a_subclass_with_a_forward_of_its_own_is_refused_unless_off_the_array(kind):
    model = nn.Sequential(kind(1, 2, 3), nn.Linear(2, 2))
    match = rf"layer '0' is a {kind.__name__} with a forward of its own.*off_array"
    with pytest.raises(EfatError, match=match):
        mapped_layers(model)
    assert list(mapped_layers(model, ["0"])) == ["1"]


def test_a_subclass_without_a_forward_of_its_own_maps():
    model = nn.Sequential(Renamed(1, 2, 3), nn.MultiheadAttention(4, 2))
    assert list(mapped_layers(model)) == ["0", "1", "1.out_proj"]
