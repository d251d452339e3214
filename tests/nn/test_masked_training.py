"""Pruned weights stay exactly 0 in a training, whatever the optimizer and the loop do."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from efat import EfatError, keep_masked, mask_model, verify_masks
from efat.nn.masking import MASK, masked_layers
from efat.nn.masking.hooks import ELEMENTWISE, mask_period
from tests.nn.masked_nets import ARRAY, batches, random_map, small_net, train, watch_forwards

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
@pytest.mark.parametrize("trust_masked_gradients", [False, True])
def test_pruned_weights_are_zero_at_every_forward_and_after_every_step(
    optimizer, how, trust_masked_gradients
):
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    built = OPTIMIZERS[optimizer](model.parameters())
    keep_masked(model, built, trust_masked_gradients)
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
    keep_masked(model, optimizer, trust_masked_gradients=True)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(2, 2, 6, 6)).square().mean().backward()
        after_backward(model, optimizer)
        optimizer.step()
        verify_masks(model)


def test_gradients_by_hand_in_a_guarded_training_are_found_out():
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    keep_masked(model, optimizer, trust_masked_gradients=True)
    _set_by_hand(model, optimizer)
    optimizer.step()
    with pytest.raises(EfatError, match=r"0\.weight: .* pruned weights are not 0"):
        verify_masks(model)


def test_gradients_from_before_the_masking_move_no_pruned_weight():
    model = small_net()
    model(torch.randn(2, 2, 6, 6)).square().mean().backward()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    keep_masked(mask_model(model, random_map(0.5), ARRAY), optimizer, trust_masked_gradients=True)
    optimizer.step()
    verify_masks(model)


def test_gradients_that_processes_exchange_move_no_pruned_weight(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    keep_masked(model, optimizer, trust_masked_gradients=True)
    model(torch.randn(2, 2, 6, 6)).square().mean().backward()
    for parameter in model.parameters():
        parameter.grad.data.fill_(1.0)  # as a bucket is written back: no version counts it
    optimizer.step()
    verify_masks(model)


def test_momentum_from_before_the_masking_moves_no_pruned_weight():
    model = small_net()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    train(model, optimizer)
    keep_masked(mask_model(model, random_map(0.5), ARRAY), optimizer, trust_masked_gradients=True)
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
@pytest.mark.parametrize("trust_masked_gradients", [False, True])
def test_what_a_users_own_loop_does_between_backward_and_step(between, trust_masked_gradients):
    if trust_masked_gradients and between is not _another_map:
        pytest.skip("a guarded training is efat's own")
    model = mask_model(small_net(), random_map(0.5), ARRAY)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    keep_masked(model, optimizer, trust_masked_gradients=trust_masked_gradients)
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
