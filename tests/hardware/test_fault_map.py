import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from efat import EfatError, FaultMap


def maps_of_one_shape(count):
    shape = st.tuples(st.integers(1, 9), st.integers(1, 9))
    return shape.flatmap(lambda s: st.tuples(*[arrays(np.bool_, s).map(FaultMap)] * count))


@given(maps_of_one_shape(3))
def test_union_is_associative_commutative_idempotent(three):
    a, b, c = three
    assert (a | b) | c == a | (b | c)
    assert a | b == b | a
    assert a | a == a


@given(maps_of_one_shape(2))
def test_union_has_the_faults_of_both_and_covers_them(two):
    a, b = two
    union = a | b
    np.testing.assert_array_equal(union.faulty, a.faulty | b.faulty)
    assert union.covers(a)
    assert union.covers(b)
    assert union.fault_rate >= max(a.fault_rate, b.fault_rate)
    assert union.fault_count == int((a.faulty | b.faulty).sum())


@given(maps_of_one_shape(2))
def test_covers_is_inclusion(two):
    a, b = two
    assert a.covers(b) == bool(np.all(a.faulty | ~b.faulty))


@given(maps_of_one_shape(1))
def test_equal_content_is_equal_also_after_a_pickle(one):
    (a,) = one
    copy = pickle.loads(pickle.dumps(a))
    assert copy == a
    assert hash(copy) == hash(a)
    assert copy.key == FaultMap(a.faulty).key


def test_same_bits_in_another_shape_are_another_map():
    assert FaultMap(np.ones((2, 8), bool)) != FaultMap(np.ones((4, 4), bool))


def test_a_map_cannot_be_changed():
    grid = np.zeros((2, 2), bool)
    fault_map = FaultMap(grid)
    grid[0, 0] = True
    fault_map.faulty[1, 1] = True
    assert fault_map.fault_count == 0
    with pytest.raises(ValueError, match="read-only"):
        fault_map.words[0] = 1
    with pytest.raises(AttributeError, match="rows"):
        fault_map.rows = 3


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 2)), np.zeros(4, bool), np.zeros((0, 3), bool), [[0, 1]], [["x"]]]
)
def test_a_map_of_another_type_or_shape_is_refused(bad):
    with pytest.raises(EfatError, match=r"fault map: .* given; a boolean array \[rows, cols\]"):
        FaultMap(bad)


def test_maps_of_two_arrays_do_not_combine():
    a, b = FaultMap.none(2, 2), FaultMap.none(2, 3)
    for combine in (lambda: a | b, lambda: a.covers(b)):
        with pytest.raises(EfatError, match="2x2 and 2x3"):
            combine()
