"""Layers that are not on the array, and weights that they share."""

import numpy as np
import pytest
import torch
from torch import nn

from efat import EfatError, FaultMap, SystolicArray, mask_model
from efat.hardware.emulation import ArrayFaults
from efat.nn.emulated import emulate
from efat.nn.masking import mapped_weights
from tests.nn.integer_layers import DATAFLOWS


def test_layers_that_do_not_map_are_named_or_left_off():
    model = nn.ModuleDict({"rnn": nn.LSTM(3, 4), "head": nn.Linear(4, 2), "tail": nn.Linear(2, 2)})
    with pytest.raises(EfatError, match=r"layer 'rnn' is a LSTM"):
        mapped_weights(model)
    assert list(mapped_weights(model, ["rnn", "tail"])) == ["head.weight"]
    with pytest.raises(EfatError, match=r"off_array: 'hat' given") as caught:
        mapped_weights(model, ["hat"])
    assert len(caught.value.problems) == 2
    with pytest.raises(EfatError, match="no layer maps"):
        mapped_weights(model, ["rnn", "head", "tail"])


class Positions(nn.Module):
    """A network that holds a parameter beside its layers, as vision transformers do."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x + self.shift)


def test_parameters_beside_the_layers_are_named_and_their_layers_still_map():
    model = nn.Sequential(Positions(), nn.Linear(2, 2))
    with pytest.raises(EfatError, match=r"holds 0.shift beside .*array.off_array=\[0.shift\]"):
        mapped_weights(model)
    assert list(mapped_weights(model, ["0.shift"])) == ["0.head.weight", "1.weight"]
    assert list(mapped_weights(Positions(), ["shift"])) == ["head.weight"]
    with pytest.raises(EfatError, match=r"off_array: '0\.head\.weight' given"):
        mapped_weights(model, ["0.shift", "0.head.weight"])


def test_all_parameters_beside_layers_are_asked_for_in_one_line_to_paste():
    model = nn.Sequential(Positions(), nn.Linear(2, 2), Positions())
    with pytest.raises(EfatError) as caught:
        mapped_weights(model, ["1"])
    [problem] = caught.value.problems
    assert problem.endswith("give array.off_array=[1,0.shift,2.shift]")
    assert list(mapped_weights(model, ["1", "0.shift", "2.shift"])) == [
        "0.head.weight", "2.head.weight",
    ]  # fmt: skip


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_layers_off_the_array_are_untouched(dataflow):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    array, x = SystolicArray(2, 2, dataflow=dataflow), torch.randn(3, 4)
    dead = FaultMap(np.ones((2, 2), bool))
    first = model[0](x)
    expected = model[1].bias.expand(3, 4)
    on_chip = emulate(model, array, ArrayFaults(dead), None, off_array=["0"])
    assert torch.equal(on_chip[0](x), first)
    mask_model(model, dead, array, off_array=["0"])
    assert torch.equal(model[0](x), first)
    assert torch.equal(model(x), expected)
    assert torch.equal(on_chip(x), expected)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_an_attentions_output_projection_can_be_left_off(dataflow):
    torch.manual_seed(0)
    array, dead = SystolicArray(2, 2, dataflow=dataflow), FaultMap(np.ones((2, 2), bool))
    model = nn.Sequential(nn.MultiheadAttention(4, 2), nn.Linear(4, 4))
    nn.init.normal_(model[0].in_proj_bias)
    x, off_array = torch.randn(3, 1, 4), ["0.out_proj", "1"]
    on_chip = emulate(model, array, ArrayFaults(dead), None, off_array)
    mask_model(model, dead, array, off_array)
    # Dead projections leave the bias as query, key and value; out_proj still works.
    expected = model[0].out_proj(model[0].in_proj_bias[8:]).expand(3, 1, 4)
    torch.testing.assert_close(model[0](x, x, x)[0], expected)
    torch.testing.assert_close(on_chip[0](x, x, x)[0], expected)
    assert (expected - model[0].out_proj.bias).abs().max() > 0.1


def test_a_weight_shared_with_a_layer_off_the_array_is_refused():
    """Pruning a tied output layer would silently change the embedding."""
    model = nn.ModuleDict({"words": nn.Embedding(6, 4), "out": nn.Linear(4, 6, bias=False)})
    model["out"].weight = model["words"].weight
    some = FaultMap(np.eye(2, dtype=bool))
    with pytest.raises(EfatError, match=r"out\.weight: shared with words.weight"):
        mask_model(model, some, SystolicArray(2, 2))
    assert model["words"].weight.count_nonzero() == 24
    mask_model(model, some, SystolicArray(2, 2, dataflow="os"))
