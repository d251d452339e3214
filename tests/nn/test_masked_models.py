"""Masked models of every dataflow train, copy, and run their attentions as torch does."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from efat import FaultMap, SystolicArray, keep_masked, mask_model, verify_masks
from efat.hardware.emulation import ArrayFaults
from efat.nn.emulated import emulate
from efat.nn.lowering import run_layer
from efat.nn.masking import MASK, masked_layers, masked_weights, unmask_model
from tests.nn.integer_layers import DATAFLOWS


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


def test_training_goes_on_unmasked_once_the_masks_are_off():
    torch.manual_seed(0)
    model = mask_model(nn.Linear(4, 4), FaultMap(np.ones((2, 2), bool)), SystolicArray(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    keep_masked(model, optimizer)
    unmask_model(model)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert (model.weight == -0.1).all()
