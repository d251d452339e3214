"""Gram matrices: measured, stored, read."""

import pytest
import torch
from torch import nn

from efat import EfatError
from efat.nn.lowering import lower_inputs
from efat.nn.repair import (
    Grams,
    measure_grams,
)
from tests.nn.repair.nets import correlated, small_net


def test_an_activation_in_place_parts_a_norm_from_its_layer():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(3)).eval()
    assert measure_grams(model, [torch.randn(4, 1, 8, 8)]).norms == {}


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
