import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from efat import EfatError, FaultMap, SystolicArray
from efat.hardware.mapping import WeightLayout, pruned_weights, weights_per_pe
from efat.resilience.severity import array_rate, weight_rate
from tests.hardware.reference import pe_of_conv_weight

ORDERS = ("im2col", "im2col_spatial_first", "channel")
sizes = st.integers(1, 5)


@st.composite
def conv_layouts(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    shape = (groups * draw(sizes), draw(sizes), draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return WeightLayout(shape, groups)


@given(conv_layouts(), sizes, sizes, st.sampled_from(ORDERS), st.randoms())
def test_conv_weights_are_pruned_where_the_reference_says(layout, rows, cols, order, random):
    faulty = np.array([[random.random() < 0.4 for _ in range(cols)] for _ in range(rows)])
    pruned = pruned_weights(layout, SystolicArray(rows, cols, order), FaultMap(faulty))
    for index in np.ndindex(layout.shape):
        pe = pe_of_conv_weight(*index, layout.shape, rows, cols, order, layout.groups)
        assert pruned[index] == faulty[pe]


def test_depthwise_uses_the_first_column_only():
    array = SystolicArray(4, 4)
    counts = weights_per_pe(WeightLayout((8, 1, 3, 3), groups=8), array)
    assert counts[:, 0].tolist() == [24, 16, 16, 16]
    assert counts[:, 1:].sum() == 0


def test_channel_order_prunes_whole_kernels():
    faulty = np.zeros((2, 2), bool)
    faulty[1, 0] = True
    pruned = pruned_weights(
        WeightLayout((2, 2, 3, 3)), SystolicArray(2, 2, "channel"), FaultMap(faulty)
    )
    assert pruned[0, 1].all()
    assert pruned.sum() == 9


@given(conv_layouts(), sizes, sizes, st.sampled_from(ORDERS), st.randoms())
def test_weight_rate_is_the_share_of_pruned_weights(layout, rows, cols, order, random):
    array = SystolicArray(rows, cols, order)
    fault_map = FaultMap(
        np.array([[random.random() < 0.4 for _ in range(cols)] for _ in range(rows)])
    )
    pruned = pruned_weights(layout, array, fault_map)
    measure = weight_rate([layout, layout], array)
    assert measure(fault_map) == pytest.approx(pruned.mean())
    assert array_rate(fault_map) == fault_map.fault_rate


def test_all_problems_of_an_array_come_at_once():
    with pytest.raises(EfatError) as caught:
        SystolicArray(0, 2.5, "rowwise")
    assert len(caught.value.problems) == 3
    assert "array.rows: 0 given; an int >= 1 is needed" in str(caught.value)
    assert "array.cols: 2.5" in str(caught.value)
    assert "array.order: 'rowwise' given; 'im2col'" in str(caught.value)


def test_a_map_of_another_array_is_refused():
    with pytest.raises(EfatError, match="2x3 PEs given; the array has 2x2"):
        pruned_weights(WeightLayout((4, 4)), SystolicArray(2, 2), FaultMap.none(2, 3))
