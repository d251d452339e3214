"""Weights from a user's file into a plain network, strictly; nothing is unpickled but tensors."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from efat.errors import EfatError, raise_problems

SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".bin", ".safetensors")
NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Where training scripts put the state dict in what they save; the first that is there counts."""
PREFIXES = ("module.", "model.", "net.", "_orig_mod.")
"""What wrappers (DataParallel, Lightning modules, torch.compile) put before every name."""
SHOWN = 8


@dataclass(frozen=True)
class PretrainedWeights:
    """A file of weights; its content, not its place, is part of a result's key."""

    path: str = field(metadata={"key": False})
    sha256: str

    @classmethod
    def of(cls, path: str) -> PretrainedWeights:
        """Look at a file; raises EfatError if there is none, or of another kind."""
        file = Path(path)
        if not file.is_file():
            raise EfatError(f"baseline.checkpoint: {path!r} given; no such file")
        if file.suffix not in SUFFIXES:
            raise EfatError(
                f"baseline.checkpoint: {path!r} given; a file ending in one of "
                f"{', '.join(SUFFIXES)} is needed"
            )
        return cls(path, hashlib.sha256(file.read_bytes()).hexdigest())

    def load_into(self, model: nn.Module) -> None:
        """Load all weights of `model`.

        Raises:
            EfatError: The file is broken or holds other things; or its names or shapes are not the
                model's, each listed.
        """
        wanted = model.state_dict()
        state = strip_prefixes(read_state(Path(self.path)), wanted)
        for name in wanted:  # torch before 0.4.1 had no such counters, and only momentum=None needs
            if name.endswith("num_batches_tracked"):
                state.setdefault(name, wanted[name])
        raise_problems(_mismatches(state, wanted, self.path))
        model.load_state_dict(state)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file.

    Raises:
        EfatError: The file is broken, needs code to be run to read it, or holds no state dict.
    """
    if path.suffix == ".safetensors":
        try:
            return dict(safetensors.torch.load_file(path))
        except (safetensors.SafetensorError, OSError) as error:
            raise EfatError(f"baseline.checkpoint: {path}: not readable ({error})") from None
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise EfatError(
            f"baseline.checkpoint: {path}: holds more than tensors and plain values, or is broken, "
            "so it is not loaded; save its state dict alone, best as .safetensors "
            f"({str(error).strip().splitlines()[0]})"
        ) from None
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise EfatError(f"baseline.checkpoint: {path}: not readable ({first})") from None
    return _state_in(content, path)


def _state_in(content: Any, path: Path) -> dict[str, Tensor]:
    """Unwrap nested dictionaries until names lead to tensors."""
    nested = content
    while isinstance(nested, Mapping):
        tensors = {str(name): value for name, value in nested.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        inner = next((nested[key] for key in NESTED if key in nested), None)
        nested = inner
    keys = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
    raise EfatError(f"baseline.checkpoint: {path}: holds no state dict, but: {keys}")


def strip_prefixes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take `PREFIXES` off that stand before the names, as long as names of `wanted` lack them.

    In a Lightning checkpoint some tensors (of metrics, say) may lie beside `model.`: where a
    prefix stands before some names only, those with it are taken, and the rest is left.

    >>> x = torch.zeros(1)
    >>> list(strip_prefixes({"module.fc.bias": x}, {"fc.bias": x}))
    ['fc.bias']
    """
    found = dict(state)
    while not set(wanted) <= set(found):
        prefix = next((p for p in PREFIXES if any(n.startswith(p) for n in found)), None)
        if prefix is None:
            break
        found = {n.removeprefix(prefix): t for n, t in found.items() if n.startswith(prefix)}
    return found


def _mismatches(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str) -> list[str]:
    """Describe every difference in names and shapes, a line a kind."""
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted]
    shapes = [
        f"{name} is {list(state[name].shape)} in the file, {list(tensor.shape)} in the model"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    return [
        f"baseline.checkpoint: {path} is not of this model: {len(names)} {kind}: "
        f"{'; '.join(names[:SHOWN])}{'; ...' if len(names) > SHOWN else ''}"
        for kind, names in kinds
        if names
    ]
