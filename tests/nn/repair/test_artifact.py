"""Repaired networks on disk."""

import pytest
import safetensors.torch
import torch
from torch import nn

from efat import EfatError
from efat.hardware.emulation import ArrayFaults
from efat.hardware.mapping import Slots
from efat.nn.emulated import emulate
from efat.nn.repair import (
    compensate,
    load_repaired,
    measure_grams,
    remap,
    save_repaired,
)
from tests.nn.repair.nets import ARRAY, a_map, correlated, small_net


def test_a_repaired_network_comes_back_with_its_placement(tmp_path):
    model, x = small_net(), correlated(40, 1, 8, 8)
    fault_map, grams = a_map(0), measure_grams(model, [x])
    placement = remap(model, fault_map, ARRAY, grams, rows=True)
    placement["6.weight"] = Slots(placement["6.weight"].columns)
    repaired = compensate(model, fault_map, ARRAY, grams, placement=placement)
    save_repaired(tmp_path / "chip.safetensors", repaired, placement)
    state, read = load_repaired(tmp_path / "chip.safetensors")
    assert read["6.weight"].rows is None
    plain = small_net(1)
    plain.load_state_dict(state, strict=True)
    on_array = emulate(plain, ARRAY, ArrayFaults(fault_map), None, placement=read)
    torch.testing.assert_close(on_array(x), repaired(x), rtol=1e-4, atol=1e-4)
    (tmp_path / "bad").write_bytes(b"no tensors")
    with pytest.raises(EfatError, match="not a repaired network"):
        load_repaired(tmp_path / "bad")


def test_files_from_before_rows_are_read(tmp_path):
    header = {"placement": '{"0.weight": [[1, 0, 3]]}'}
    safetensors.torch.save_file({"0.weight": torch.ones(3, 2)}, tmp_path / "old", header)
    _, read = load_repaired(tmp_path / "old")
    assert read["0.weight"].columns.tolist() == [[1, 0, 3]]
    assert read["0.weight"].rows is None
    save_repaired(tmp_path / "new", nn.Linear(2, 3), read)  # and written as they were
    with safetensors.safe_open(tmp_path / "new", "pt") as file:
        assert file.metadata() == header
