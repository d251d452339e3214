"""A repaired network on disk: weights that load into the plain network, and where they lie."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
from torch import Tensor, nn

from efat.errors import EfatError
from efat.mapping import Placement, Slots


def save_repaired(path: Path, model: nn.Module, placement: Placement | None = None) -> None:
    """Write a state dict as safetensors, with the placement in its header."""
    slots = {name: chosen.tolist() for name, chosen in (placement or {}).items()}
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(state, path, {"placement": json.dumps(slots)})


def load_repaired(path: Path) -> tuple[dict[str, Tensor], dict[str, Slots]]:
    """Return state dict and placement of a file that `save_repaired` wrote.

    Raises:
        EfatError: Another file.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            slots = json.loads((file.metadata() or {})["placement"])
        state = safetensors.torch.load_file(path)
        placement = {name: np.array(chosen, dtype=np.intp) for name, chosen in slots.items()}
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, AttributeError) as error:
        raise EfatError(f"{path}: not a repaired network ({error})") from None
    return state, placement
