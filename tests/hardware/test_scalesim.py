"""An independent oracle: SCALE-Sim 3.0.0 puts every element on the same PE as efat."""

import numpy as np
import pytest
import torch
from torch import nn

from efat import SystolicArray
from efat.hardware.emulation import textbook_cycles
from efat.hardware.mapping import gemm_indices, reduction_index
from efat.nn.lowering import layer_weights, lower_inputs

REASON = "SCALE-Sim is not installed; pip install 'efat[oracle]'"
pytest.importorskip("scalesim", reason=REASON)
# SCALE-Sim's own modules; its package has no public names
from scalesim.compute.operand_matrix import operand_matrix  # noqa: E402  # after the skip
from scalesim.compute.systolic_compute_is import systolic_compute_is  # noqa: E402
from scalesim.compute.systolic_compute_os import systolic_compute_os  # noqa: E402
from scalesim.compute.systolic_compute_ws import systolic_compute_ws  # noqa: E402
from scalesim.scale_config import scale_config  # noqa: E402
from scalesim.topology_utils import topologies  # noqa: E402

# height, width, kernel height, kernel width, channels, filters, stride; rows, cols
CASES = [
    (6, 7, 3, 2, 3, 5, 1, 4, 3),
    (9, 9, 3, 3, 2, 9, 2, 5, 7),  # the stride divides: SCALE-Sim's last window may overhang
    (5, 5, 1, 1, 4, 6, 1, 16, 8),
    (4, 4, 4, 4, 2, 3, 1, 8, 8),
]
WEIGHTS, OUTPUTS = 10_000_000, 20_000_000


def scalesim_operands(case, folder):
    height, width, kh, kw, channels, filters, stride, rows, cols = case
    path = folder / "layer.csv"
    sizes = ", ".join(map(str, (height, width, kh, kw, channels, filters, stride)))
    path.write_text(f"header,\nlayer, {sizes},\n")
    topology, config, operands = topologies(), scale_config(), operand_matrix()
    topology.load_arrays(str(path))
    config.array_rows, config.array_cols, config.valid_conf_flag = rows, cols, True
    operands.set_params(config, topology, None, 0)
    operands.create_operand_matrices()
    matrices = operands.ifmap_addr_matrix, operands.ofmap_addr_matrix, operands.filter_addr_matrix
    return config, [np.asarray(m, dtype=float) for m in matrices]


def per_pe(rows, cols, row, col, addresses):
    """Return the sorted addresses on each PE."""
    found = {(r, c): [] for r in range(rows) for c in range(cols)}
    for r, c, address in zip(row.ravel(), col.ravel(), addresses.ravel(), strict=True):
        found[int(r), int(c)].append(int(address))
    return {pe: sorted(values) for pe, values in found.items()}


def loaded(demand, folds, rows, cols):
    """Read which address each PE loads: the first `rows` cycles of a fold, bottom row first."""
    blocks = demand.reshape(folds, -1, cols)[:, :rows][:, ::-1]
    _, row, col = np.nonzero(blocks >= 0)
    return per_pe(rows, cols, row, col, blocks[blocks >= 0])


@pytest.mark.parametrize("case", CASES)
def test_every_weight_is_on_the_same_pe(case, tmp_path):
    _, _, kh, kw, channels, filters, _, rows, cols = case
    config, matrices = scalesim_operands(case, tmp_path)
    theirs = systolic_compute_ws()
    theirs.set_params(config, *matrices)
    demand = theirs.get_filter_demand_mat()
    folds = theirs.row_fold * theirs.col_fold
    layout = layer_weights(nn.Conv2d(channels, filters, (kh, kw)))["weight"]
    array = SystolicArray(rows, cols, "im2col_spatial_first")
    k, m = np.broadcast_arrays(*gemm_indices(layout, array.order))
    o, i, y, x = np.indices(layout.shape)
    addresses = WEIGHTS + o * kh * kw * channels + (y * kw + x) * channels + i
    assert loaded(demand, folds, rows, cols) == per_pe(rows, cols, k % rows, m % cols, addresses)
    n, depth = matrices[0].shape
    assert len(demand) == textbook_cycles(n, depth, filters, array)


@pytest.mark.parametrize("case", CASES)
def test_every_input_is_on_the_same_pe(case, tmp_path):
    height, width, kh, kw, channels, filters, stride, rows, cols = case
    config, matrices = scalesim_operands(case, tmp_path)
    theirs = systolic_compute_is()
    theirs.set_params(config, *matrices)
    demand = theirs.get_ifmap_demand_mat()
    folds = theirs.row_fold * theirs.col_fold
    pixels = torch.arange(height * width * channels).reshape(1, height, width, channels)
    layer = nn.Conv2d(channels, filters, (kh, kw), stride)
    x = lower_inputs(layer, pixels.permute(0, 3, 1, 2))[0].numpy()
    n, i, t = np.indices(x.shape)
    array = SystolicArray(rows, cols, "im2col_spatial_first", "is")
    k = reduction_index(i, t, channels, kh * kw, array.order)
    assert loaded(demand, folds, rows, cols) == per_pe(rows, cols, k % rows, n % cols, x)
    assert len(demand) == textbook_cycles(len(x), channels * kh * kw, filters, array)


@pytest.mark.parametrize("case", CASES)
def test_every_output_is_on_the_same_pe(case, tmp_path):
    *_, filters, _, rows, cols = case
    config, matrices = scalesim_operands(case, tmp_path)
    theirs = systolic_compute_os()
    theirs.set_params(config, *matrices)
    demand = theirs.get_ofmap_demand_mat()
    folds = theirs.row_fold * theirs.col_fold
    blocks = demand.reshape(folds, -1, cols)
    start = (
        matrices[0].shape[1] - 1
    )  # results leave after the last operand, column c c cycles later
    unskewed = np.stack([blocks[:, start + c : start + c + rows, c] for c in range(cols)], axis=2)
    kept = unskewed[:, ::-1]
    _, row, col = np.nonzero(kept >= 0)
    n, m = np.indices((len(matrices[0]), filters))
    expected = per_pe(rows, cols, n % rows, m % cols, OUTPUTS + n * filters + m)
    assert per_pe(rows, cols, row, col, kept[kept >= 0]) == expected
