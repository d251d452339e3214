"""METHOD fact 2a: the masked model computes what the array with bypassed PEs computes."""

import copy
import io
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from efat import EfatError, FaultMap, SystolicArray, keep_masked, mask_model, verify_masks
from efat.activation_masks import _multiply
from efat.emulation import ArrayFaults, LayerScales, emulate, multiply
from efat.lowering import run_layer
from efat.masking import MASK, mapped_weights, masked_layers, masked_weights, unmask_model

ORDERS = ["im2col", "im2col_spatial_first", "channel"]
DATAFLOWS = ["ws", "os", "is"]


class UnitScales(dict):
    """Integers as they are."""

    def __missing__(self, key):
        return LayerScales(1.0, torch.ones(1))

    def __contains__(self, key):
        return True


def integers(*shape, high=8):
    return torch.randint(-high, high, shape).double()


def with_integer_weights(model):
    for parameter in model.parameters():
        parameter.data = integers(*parameter.shape)
    return model.double()


@st.composite
def convolutions(draw):
    dims = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    if draw(st.integers(0, 4)) == 0:
        groups = inputs = outputs = draw(st.integers(2, 4))  # depthwise
    few = st.tuples(*[st.integers(1, 3 if dims < 3 else 2)] * dims)
    kernel, stride, dilation = draw(few), draw(few), draw(few)
    options = {
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    transposed = draw(st.booleans())
    if transposed:
        extra = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
        layer = kind(inputs, outputs, kernel, padding=0, output_padding=tuple(extra), **options)
    else:
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        mode = draw(st.sampled_from(["zeros", "zeros", "circular", "replicate", "reflect"]))
        layer = kind(inputs, outputs, kernel, padding=1, padding_mode=mode, **options)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    space = [draw(st.integers(max(2, span - 2), span + 2)) for span in spans]
    return layer, (draw(st.integers(1, 3)), inputs, *space)


@st.composite
def linears(draw):
    inputs, outputs = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    leading = draw(st.lists(st.integers(1, 3), max_size=3))
    return nn.Linear(inputs, outputs, bias=draw(st.booleans())), (*leading, inputs)


@st.composite
def faulty_arrays(draw, dataflow=None):
    rows, cols = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    array = SystolicArray(
        rows, cols, draw(st.sampled_from(ORDERS)), dataflow or draw(st.sampled_from(DATAFLOWS))
    )
    return array, FaultMap(rng.random((rows, cols)) < draw(st.sampled_from([0.1, 0.4])))


@settings(max_examples=220, deadline=None)
@given(st.one_of(convolutions(), convolutions(), linears()), faulty_arrays(), st.integers(0, 9999))
def test_masked_layer_equals_emulated_layer_in_integers(case, chip, seed):
    (layer, shape), (array, fault_map) = case, chip
    torch.manual_seed(seed)
    with_integer_weights(layer)
    x = integers(*shape)
    on_chip = emulate(layer, array, ArrayFaults(fault_map), UnitScales())(x)
    masked = mask_model(copy.deepcopy(layer), fault_map, array)(x)
    assert torch.equal(masked, on_chip)
    in_float64 = emulate(layer, array, ArrayFaults(fault_map), None)(x)
    assert torch.equal(in_float64, on_chip)


@settings(max_examples=40, deadline=None)
@given(faulty_arrays(), st.integers(0, 9999), st.booleans(), st.booleans(), st.booleans())
def test_masked_attention_equals_emulated_attention(chip, seed, packed, batch_first, bias):
    array, fault_map = chip
    torch.manual_seed(seed)
    sizes = {} if packed else {"kdim": 3, "vdim": 5}
    model = nn.MultiheadAttention(4, 2, bias=bias, batch_first=batch_first, **sizes)
    with_integer_weights(model)
    x = [integers(2, 3, n, high=3) for n in ((4, 4, 4) if packed else (4, 3, 5))]
    on_chip, scores = emulate(model, array, ArrayFaults(fault_map), None)(*x)
    masked, masked_scores = mask_model(copy.deepcopy(model), fault_map, array)(*x)
    torch.testing.assert_close(masked, on_chip, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(masked_scores, scores, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(faulty_arrays(), st.integers(0, 9999), st.booleans(), st.booleans())
def test_attention_projections_are_bit_exact_in_integers(chip, seed, packed, batch_first):
    """What enters the scores: integers, so masked and emulated projections are equal."""
    array, fault_map = chip
    torch.manual_seed(seed)
    sizes = {} if packed else {"kdim": 3, "vdim": 5}
    model = with_integer_weights(nn.MultiheadAttention(4, 2, batch_first=batch_first, **sizes))
    x = [integers(2, 3, n) for n in ((4, 4, 4) if packed else (4, 3, 5))]

    def projections(layer, products):
        seen = []

        def record(name, inputs, weights):
            seen.append(products(name, inputs, weights))
            return seen[-1]

        run_layer(layer, x, {}, record)
        return seen[:3]

    def on_chip(name, inputs, weights):
        operands = (operand.to(torch.int8).numpy() for operand in (inputs, weights))
        if name.startswith("out_proj"):
            return inputs.flatten(2) @ weights.flatten(1, 2)
        return torch.from_numpy(multiply(*operands, array, ArrayFaults(fault_map))).double()

    masked = mask_model(copy.deepcopy(model), fault_map, array)
    for ours, theirs in zip(
        projections(masked, partial(_multiply, masked, array)),
        projections(model, on_chip),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_a_fault_free_map_changes_nothing(dataflow):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3)).double()
    x = integers(2, 3, 6, 6)
    masked = mask_model(
        copy.deepcopy(model), FaultMap.none(4, 4), SystolicArray(4, 4, dataflow=dataflow)
    )
    torch.testing.assert_close(masked(x), model(x), rtol=1e-12, atol=1e-12)


def test_output_stationary_schedule_is_the_documented_one():
    """Output (image 1, channel 3, row 1, column 0) of a 2x2 map: n = 1*4 + 2 = 6, m = 3."""
    faulty = np.zeros((4, 2), bool)
    faulty[6 % 4, 3 % 2] = True
    layer = nn.Conv2d(1, 4, 1)
    x = torch.rand(2, 1, 2, 2)
    out = mask_model(copy.deepcopy(layer), FaultMap(faulty), SystolicArray(4, 2, dataflow="os"))(x)
    expected = layer(x)
    for b, p, channel in [(0, 2, 1), (0, 2, 3), (1, 2, 1), (1, 2, 3)]:
        expected[b, channel, p // 2, p % 2] = layer.bias[channel]
    assert torch.equal(out, expected)


def test_input_stationary_schedule_is_the_documented_one():
    """Linear: x[n, k] on PE(k % R, n % C); PE(1, 0) holds x[0, 1], x[0, 3], x[2, 1], x[2, 3]."""
    layer = nn.Linear(4, 3).double()
    x = integers(3, 4)
    faulty = FaultMap([[False, False], [True, False]])
    out = mask_model(copy.deepcopy(layer), faulty, SystolicArray(2, 2, dataflow="is"))(x)
    x[[0, 0, 2, 2], [1, 3, 1, 3]] = 0
    torch.testing.assert_close(out, layer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_gradients_are_those_of_the_masked_function(dataflow):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, 1, groups=2),
        nn.ConvTranspose2d(4, 2, 2),
        nn.Flatten(1),
        nn.Linear(32, 3),
    ).double()
    fault_map = FaultMap(np.random.default_rng(0).random((5, 3)) < 0.4)
    mask_model(model, fault_map, SystolicArray(5, 3, dataflow=dataflow))
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in model.named_parameters()]

    def run(x, *values):
        pairs = zip(names, values, strict=True)
        if dataflow == "ws":  # weight masks act on the parameters, so the function has them too
            weights = {f"{n}.weight": getattr(m, MASK) for n, m in masked_layers(model).items()}
            pairs = [(n, v * weights[n] if n in weights else v) for n, v in pairs]
        return torch.func.functional_call(model, dict(pairs), (x,))

    values = [p.detach().clone().requires_grad_() for p in model.parameters()]
    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_training_lowers_the_loss_and_keeps_the_masks(dataflow):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    fault_map = FaultMap(np.random.default_rng(1).random((4, 4)) < 0.3)
    mask_model(model, fault_map, SystolicArray(4, 4, dataflow=dataflow))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    keep_masked(model, optimizer)
    x = torch.randn(64, 8)
    y = x[:, :4].argmax(1)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(loss := nn.functional.cross_entropy(model(x), y))
        loss.backward()
        for weight in masked_weights(model).values():
            assert not weight.tensor.grad[weight.mask == 0].any(), "masked before any clipping"
        optimizer.step()
    for weight in masked_weights(model).values():
        assert not optimizer.state[weight.tensor]["exp_avg"][weight.mask == 0].any()
    assert len(masked_weights(model)) == (2 if dataflow == "ws" else 0)
    verify_masks(model)
    assert losses[-1] < 0.8 * losses[0]


def transformer():
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_an_encoder_in_evaluation_takes_a_padding_mask(dataflow):
    plain = nn.TransformerEncoder(transformer(), 2).eval()
    x, padded = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([[5], [3], [2]])
    array, none = SystolicArray(4, 4, dataflow=dataflow), FaultMap.none(4, 4)
    some = FaultMap(np.random.default_rng(2).random((4, 4)) < 0.3)
    with torch.no_grad():
        expected = plain(x, src_key_padding_mask=padded)
        for twin in (
            mask_model(copy.deepcopy(plain), none, array),
            emulate(plain, array, ArrayFaults(none), None),
        ):
            out = twin(x, src_key_padding_mask=padded)
            torch.testing.assert_close(out[~padded], expected[~padded], rtol=1e-4, atol=1e-5)
        masked = mask_model(copy.deepcopy(plain), some, array)
        on_chip = emulate(plain, array, ArrayFaults(some), None)(x, src_key_padding_mask=padded)
        out = masked(x, src_key_padding_mask=padded)
        torch.testing.assert_close(out[~padded], on_chip[~padded], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(out[~padded], expected[~padded])
        unmask_model(masked).load_state_dict(plain.state_dict())
        assert torch.equal(masked(x, src_key_padding_mask=padded), expected)


ATTENTION_MASKS = {
    "none": {},
    "padding": {"key_padding_mask": torch.arange(5) >= torch.tensor([[5], [3], [2]])},
    "boolean": {"attn_mask": torch.ones(5, 5).triu(1).bool()},
    "float": {"attn_mask": torch.arange(25.0).reshape(5, 5) / 9, "need_weights": False},
    "causal": {
        "attn_mask": nn.Transformer.generate_square_subsequent_mask(5),
        "is_causal": True,
        "need_weights": False,
    },
    "each head": {"attn_mask": torch.rand(6, 5, 5), "average_attn_weights": False},
}


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("name", ATTENTION_MASKS)
@pytest.mark.parametrize("extras", [{}, {"add_bias_kv": True, "add_zero_attn": True}])
def test_attention_masks_stay_torchs(dataflow, name, extras):
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(8, 2, batch_first=True, **extras).eval()
    x = [torch.randn(3, 5, 8) for _ in range(3)]
    array = SystolicArray(4, 4, dataflow=dataflow)
    expected, scores = plain(*x, **ATTENTION_MASKS[name])
    masked = mask_model(copy.deepcopy(plain), FaultMap.none(4, 4), array)
    out, masked_scores = masked(*x, **ATTENTION_MASKS[name])
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(masked_scores, scores, rtol=1e-4, atol=1e-5)


def test_an_attentions_dropout_is_torchs():
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 2, dropout=0.5).train(), torch.randn(5, 3, 8)
    torch.manual_seed(1)
    expected, _ = layer(x, x, x)
    torch.manual_seed(1)
    out, _ = run_layer(layer, (x, x, x), {}, lambda _, x, w: x.flatten(2) @ w.flatten(1, 2))
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_copies_pickles_and_state_dicts_keep_working(dataflow):
    plain, x = transformer(), torch.randn(3, 5, 8)
    fault_map = FaultMap(np.random.default_rng(2).random((4, 4)) < 0.3)
    array = SystolicArray(4, 4, dataflow=dataflow)
    masked = mask_model(copy.deepcopy(plain), fault_map, array)
    with torch.no_grad():
        out = masked(x)
        assert not torch.equal(out, plain(x))
        for twin in (copy.deepcopy(masked), pickle.loads(pickle.dumps(masked))):
            assert torch.equal(twin(x), out)
        assert masked.state_dict().keys() == plain.state_dict().keys()
        plain_again = transformer()
        plain_again.load_state_dict(masked.state_dict(), strict=True)
        masked.load_state_dict(plain.state_dict(), strict=True)
        assert torch.equal(masked(x), out), "weights loaded later are masked again"
        file = io.BytesIO()
        torch.save(masked.state_dict(), file)
        assert torch.equal(
            masked.double()(x.double()).float().round(decimals=3), out.round(decimals=3)
        )


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_masking_again_replaces_and_unmasking_takes_off(dataflow):
    plain, x = transformer(), torch.randn(3, 5, 8)
    some, other = (FaultMap(np.random.default_rng(s).random((4, 4)) < 0.3) for s in (0, 1))
    array = SystolicArray(4, 4, dataflow=dataflow)
    with torch.no_grad():
        expected = mask_model(copy.deepcopy(plain), other, array)(x)
        again = mask_model(copy.deepcopy(plain), some, array)
        for previous in DATAFLOWS:  # whatever masked it before
            mask_model(again, some, SystolicArray(4, 4, dataflow=previous))
        mask_model(again, other, array)
        again.load_state_dict(plain.state_dict())
        assert torch.equal(again(x), expected)
        unmask_model(again).load_state_dict(plain.state_dict())
        assert torch.equal(again(x), plain(x))
        assert not masked_layers(again)


def test_subset_of_faults_gives_identical_outputs():
    """METHOD fact 2b, weight-stationary: a model masked for a group runs unchanged on a member."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = with_integer_weights(nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(80, 3)))
    array = SystolicArray(6, 4)
    fused = FaultMap(rng.random((6, 4)) < 0.4)
    member = FaultMap(fused.faulty & (rng.random((6, 4)) < 0.5))
    x = integers(2, 2, 6, 6, high=3)
    mask_model(model, fused, array)
    outs = [
        emulate(model, array, ArrayFaults(m), None)(x) for m in (fused, member, FaultMap.none(6, 4))
    ]
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


@pytest.mark.parametrize("dataflow", ["os", "is"])
def test_subset_of_faults_gives_other_outputs_where_no_weight_is_masked(dataflow):
    """Fact 2b is of weights: docs/emulation.md says what to do with groups instead."""
    torch.manual_seed(0)
    model = with_integer_weights(nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(80, 3)))
    array = SystolicArray(6, 4, dataflow=dataflow)
    fused = FaultMap(np.random.default_rng(0).random((6, 4)) < 0.4)
    x = integers(2, 2, 6, 6, high=3)
    member, group = (
        mask_model(copy.deepcopy(model), faults, array)(x)
        for faults in (FaultMap.none(6, 4), fused)
    )
    assert not torch.equal(member, group)


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
    with pytest.raises(EfatError, match=r"out\.weight: shared with layer 'words'"):
        mask_model(model, some, SystolicArray(2, 2))
    assert model["words"].weight.count_nonzero() == 24
    mask_model(model, some, SystolicArray(2, 2, dataflow="os"))


def test_training_goes_on_unmasked_once_the_masks_are_off():
    torch.manual_seed(0)
    model = mask_model(nn.Linear(4, 4), FaultMap(np.ones((2, 2), bool)), SystolicArray(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    keep_masked(model, optimizer)
    unmask_model(model)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert (model.weight == -0.1).all()
