"""Which layers are masked, and what is refused."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from efat import EfatError, FaultMap, SystolicArray, keep_masked, mask_model
from efat.models.mlp import MLP
from efat.models.resnet import ResNet
from efat.nn.masking import mapped_layers, masked_layers, unmask_model
from tests.nn.masked_nets import ARRAY, random_map, small_net


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
