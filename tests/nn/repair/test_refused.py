"""What is refused, and the example of the documentation."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from efat import EfatError, SystolicArray, mask_model
from efat.hardware.mapping import Slots
from efat.nn.repair import (
    Grams,
    compensate,
    measure_grams,
    remap,
)
from efat.nn.saliency import magnitude_saliency
from tests.nn.repair.nets import ARRAY, a_map, correlated, small_net


def test_bad_input_is_refused():
    model, x = small_net(), correlated(40, 1, 8, 8)
    grams = measure_grams(model, [x])
    with pytest.raises(EfatError, match=r"ridge: 0\.0 given"):
        compensate(model, a_map(0), ARRAY, grams, ridge=0.0)
    with pytest.raises(EfatError, match="no batch given"):
        measure_grams(model, [])
    with pytest.raises(EfatError, match=r"grams: none for '0\.weight'"):
        compensate(model, a_map(0), ARRAY, Grams({}, {}))
    with pytest.raises(EfatError, match="saliencies: of another network"):
        remap(model, a_map(0), ARRAY, magnitude_saliency(model)[1:])
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    with pytest.raises(EfatError, match="one weight"):
        measure_grams(tied, [torch.randn(3, 4)])


def test_bad_placements_are_all_named():
    model = small_net()
    twice, far = np.zeros((1, 6), dtype=int), np.array([[0, 1, 2, 3, 4, 5, 6, 7, 12]])
    placed = {"0.weight": twice, "6.weight": far, "9.weight": np.zeros(3), "x": twice}
    placement = {name: Slots(columns) for name, columns in placed.items()}
    with pytest.raises(EfatError) as error:
        mask_model(model, a_map(0), ARRAY, placement=placement)
    for part in ("'x' given", "0.weight: slots", "from 0 to 11", "9.weight: slots: float64"):
        assert part in str(error.value)
    good = np.arange(6)[None]
    for rows in (np.zeros((1, 9), int), np.arange(9)[None] + 2, np.arange(8)[None]):
        with pytest.raises(EfatError, match=r"0\.weight: row slots: .* inputs"):
            mask_model(model, a_map(0), ARRAY, placement={"0.weight": Slots(good, rows)})
    array = SystolicArray(5, 4, dataflow="os")
    with pytest.raises(EfatError, match="compensation needs ws"):
        compensate(model, a_map(0), array, measure_grams(model, [correlated(9, 1, 8, 8)]))
    with pytest.raises(EfatError, match="only ws has one"):
        mask_model(model, a_map(0), array, placement={"0.weight": Slots(twice)})


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / "docs/repair.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "repair.md", "exec"), {})
    assert len(list(tmp_path.glob("chip*.safetensors"))) == 3
