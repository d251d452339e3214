"""Post-training quantisation, and what stuck bits and bypasses do to a trained model."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from efat import EfatError, FaultMap, SystolicArray, mask_model
from efat.hardware.emulation import ArrayFaults, StuckAt
from efat.models.resnet import ResNet
from efat.nn.emulated import calibrate, emulate


@pytest.fixture(scope="module")
def trained():
    """Return a small convolutional net that reads digits, and its data."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    y = torch.tensor(labels)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16),
        nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(60):
        part = slice(step * 64 % 1200, step * 64 % 1200 + 64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[part]), y[part]).backward()
        optimizer.step()
    return model.eval(), x[:1200], x[1200:], y[1200:]


def accuracy(model, x, y):
    with torch.no_grad():
        return (model(x).argmax(1) == y).double().mean().item()


ARRAY = SystolicArray(64, 32)
HEALTHY = ArrayFaults(FaultMap.none(64, 32))


def test_int8_reads_digits_as_well_as_float(trained):
    model, train, x, y = trained
    scales = calibrate(model, train.split(100))
    on_chip = emulate(model, ARRAY, HEALTHY, scales)
    assert accuracy(model, x, y) > 0.9
    assert abs(accuracy(on_chip, x, y) - accuracy(model, x, y)) < 0.01
    with torch.no_grad():
        error = (on_chip(x) - model(x)).abs().mean() / model(x).abs().mean()
    assert 0 < error < 0.02


def test_scales_are_the_largest_magnitudes(trained):
    model, train, *_ = trained
    scales = calibrate(model, [(batch, None) for batch in train.split(100)])
    seen = {}
    hooks = [
        model[i].register_forward_hook(
            lambda layer, args, out, i=i: seen.setdefault(i, []).append(args[0].abs().max().item())
        )
        for i in (0, 2, 6)
    ]
    with torch.no_grad():
        for batch in train.split(100):
            model(batch)
    for hook in hooks:
        hook.remove()
    assert list(scales) == ["0.weight", "2.weight", "6.weight"]
    for i, key in zip((0, 2, 6), scales, strict=True):
        assert scales[key].inputs == pytest.approx(max(seen[i]) / 127)
        largest = model[i].weight.detach().flatten(1).abs().amax(1)
        torch.testing.assert_close(scales[key].weights[0], largest / 127)


def test_inputs_beyond_the_calibrated_range_are_clipped():
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    on_chip = emulate(model, ARRAY, HEALTHY, calibrate(model, [torch.ones(1, 1)]))
    out = on_chip(torch.tensor([[0.5], [1.0], [50.0], [-50.0]])).flatten().tolist()
    assert out == pytest.approx([64 / 127, 1, 1, -1])


def test_a_few_stuck_pes_ruin_a_model_and_bypassing_restores_it(trained):
    """As VTS 2018 reports: high bits of the partial sum, 4 of 2,048 PEs."""
    model, train, x, y = trained
    scales = calibrate(model, train.split(100))
    stuck = [StuckAt(5 + 13 * i, 2 * i, "psum", 24, i % 2) for i in range(4)]
    chip = ArrayFaults.undetected(64, 32, stuck)
    assert accuracy(emulate(model, ARRAY, chip, scales), x, y) < 0.5
    bypassed = accuracy(emulate(model, ARRAY, chip.mitigated(), scales), x, y)
    assert bypassed > accuracy(model, x, y) - 0.05
    low = [StuckAt(f.row, f.col, "psum", 1, f.value) for f in stuck]
    low_chip = ArrayFaults.undetected(64, 32, low)
    assert accuracy(emulate(model, ARRAY, low_chip, scales), x, y) > accuracy(model, x, y) - 0.02


def test_bypassed_int8_chip_agrees_with_the_masked_model(trained):
    model, train, x, _ = trained
    fault_map = FaultMap(np.random.default_rng(0).random((64, 32)) < 0.1)
    scales = calibrate(model, train.split(100))
    masked = mask_model(copy.deepcopy(model), fault_map, ARRAY)
    on_chip = emulate(model, ARRAY, ArrayFaults(fault_map), scales)
    with torch.no_grad():
        agree = (masked(x).argmax(1) == on_chip(x).argmax(1)).double().mean()
    assert agree > 0.97


def test_the_model_itself_is_left_alone(trained):
    model, train, *_ = trained
    before = copy.deepcopy(model.state_dict())
    model.train()
    emulate(model, ARRAY, HEALTHY, calibrate(model, [train[:10]]))(train[:10])
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    model.eval()


def test_what_is_missing_is_named(trained):
    model, train, *_ = trained
    with pytest.raises(EfatError, match="no batch"):
        calibrate(model, [])
    scales = calibrate(model, [train[:10]], off_array=["2"])
    assert list(scales) == ["0.weight", "6.weight"]
    with pytest.raises(EfatError, match=r"none for '2\.weight'"):
        emulate(model, ARRAY, HEALTHY, scales)(train[:10])
    emulate(model, ARRAY, HEALTHY, scales, off_array=["2"])(train[:10])


def test_resnet_runs_in_int8():
    torch.manual_seed(0)
    model, x = ResNet(8, 10, in_channels=1, width=4), torch.rand(4, 1, 8, 8)
    scales = calibrate(model, [x])
    with torch.no_grad():
        plain = model.eval()(x)
        on_chip = emulate(model, ARRAY, HEALTHY, scales)(x)
    assert (plain - on_chip).abs().max() < 0.1 * plain.abs().max()
