"""A repaired network on disk: weights that load into the plain network, and where they lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
from numpy.typing import NDArray
from torch import Tensor, nn

from efat.errors import EfatError
from efat.hardware.mapping import Placement, Slots


def save_repaired(path: Path, model: nn.Module, placement: Placement | None = None) -> None:
    """Write a state dict as safetensors, with the placement in its header."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    path.write_bytes(pack_repaired(state, placement or {}))


def load_repaired(path: Path) -> tuple[dict[str, Tensor], dict[str, Slots]]:
    """Return state dict and placement of a model's file; the placement is empty where it has none.

    Raises:
        EfatError: Another file.
    """
    try:
        placement = read_placement(path)
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, AttributeError) as error:
        raise EfatError(f"{path}: not a repaired network ({error})") from None
    return state, placement or {}


def pack_repaired(state: Mapping[str, Tensor], placement: Placement | None) -> bytes:
    """Return what is in such a file; without a placement (None), plain safetensors."""
    header = None
    if placement is not None:
        columns = {name: slots.columns.tolist() for name, slots in placement.items()}
        rows = {n: s.rows.tolist() for n, s in placement.items() if s.rows is not None}
        header = {"placement": json.dumps(columns)} | ({"rows": json.dumps(rows)} if rows else {})
    return safetensors.torch.save(dict(state), header)


def read_placement(path: Path) -> dict[str, Slots] | None:
    """Return the placement in the header of a safetensors file, or None if there is none."""
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata() or {}
    if "placement" not in header:
        return None
    columns, rows = (_arrays(header.get(key, "{}")) for key in ("placement", "rows"))
    return {name: Slots(chosen, rows.get(name)) for name, chosen in columns.items()}


def _arrays(text: str) -> dict[str, NDArray[np.intp]]:
    return {name: np.array(chosen, dtype=np.intp) for name, chosen in json.loads(text).items()}
