"""Layers, inputs and faulty arrays of integers, which add up exactly."""

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

from efat import FaultMap, SystolicArray
from efat.nn.emulated import LayerScales

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
