"""Read and write a repaired network: weights for the plain network, and their placement."""

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
from efat.hardware import Placement, Slots


def save_repaired(path: Path, model: nn.Module, placement: Placement | None = None) -> None:
    """Write a state dict as safetensors, with the placement in its header."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    path.write_bytes(safetensors.torch.save(state, placement_header(placement or {})))


def load_repaired(path: Path) -> tuple[dict[str, Tensor], dict[str, Slots]]:
    """Return the state dict and the placement in a file; the placement may be empty.

    Raises:
        EfatError: Not a file of `save_repaired`.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            placement = placement_of(file.metadata() or {})
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, AttributeError) as error:
        raise EfatError(f"{path}: not a repaired network ({error})") from None
    return state, placement or {}


def placement_header(placement: Placement | None) -> dict[str, str]:
    """Return the placement as the header of a safetensors file; empty for None."""
    if placement is None:
        return {}
    columns = {name: slots.columns.tolist() for name, slots in placement.items()}
    rows = {n: s.rows.tolist() for n, s in placement.items() if s.rows is not None}
    return {"placement": json.dumps(columns)} | ({"rows": json.dumps(rows)} if rows else {})


def placement_of(header: Mapping[str, str]) -> dict[str, Slots] | None:
    """Return the placement in a safetensors header, or None if there is none."""
    if "placement" not in header:
        return None
    columns, rows = (_arrays(header.get(key, "{}")) for key in ("placement", "rows"))
    return {name: Slots(slots, rows.get(name)) for name, slots in columns.items()}


def _arrays(text: str) -> dict[str, NDArray[np.intp]]:
    return {name: np.array(slots, dtype=np.intp) for name, slots in json.loads(text).items()}
