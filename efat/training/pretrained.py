"""Load weights from a user's file into a plain network; only tensors are unpickled."""

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
"""Keys under which training scripts save the state dict; the first that exists counts."""
PREFIXES = ("module.", "model.", "net.", "_orig_mod.")
"""Prefixes that wrappers (DataParallel, Lightning modules, torch.compile) add to every name."""
SHOWN = 8


@dataclass(frozen=True)
class PretrainedWeights:
    """A file of weights; its content, not its path, is part of a result's key."""

    path: str = field(metadata={"key": False})
    sha256: str

    @classmethod
    def of(cls, path: str) -> PretrainedWeights:
        """Hash a file; raises EfatError if it is missing or has another suffix."""
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
            EfatError: The file is broken or holds no state dict; or its names or shapes are not
                the model's, each listed.
        """
        wanted = model.state_dict()
        state = strip_prefixes(read_state(Path(self.path)), wanted)
        for name in wanted:  # absent before torch 0.4.1; only momentum=None uses them
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
    """Remove `PREFIXES` from the names, as long as names of `wanted` are missing.

    A Lightning checkpoint may hold other tensors (of metrics, say) beside `model.`: if only some
    names have the prefix, the others are dropped.

    >>> x = torch.zeros(1)
    >>> list(strip_prefixes({"module.fc.bias": x}, {"fc.bias": x}))
    ['fc.bias']
    """
    stripped = dict(state)
    while not set(wanted) <= set(stripped):
        prefix = next((p for p in PREFIXES if any(n.startswith(p) for n in stripped)), None)
        if prefix is None:
            break
        stripped = {n.removeprefix(prefix): t for n, t in stripped.items() if n.startswith(prefix)}
    return stripped


def _mismatches(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str) -> list[str]:
    """Describe every difference in names and shapes, one line per kind."""
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
