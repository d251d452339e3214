"""The artifact store: results of finished units of work, found again by what determined them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from efat import atomic
from efat.faults import FaultMap

FORMAT = 1
"""Raised when a unit computes something else from the same inputs; older results are not found."""


@dataclass(frozen=True)
class Result:
    """What a unit of work leaves behind.

    Args:
        values: Numbers and texts, as JSON holds them.
        weights: State dict of a plain model, or None.
    """

    values: dict[str, Any]
    weights: dict[str, Tensor] | None = None


def content_key(stage: str, inputs: Any) -> str:
    """Hash (SHA-256, hex) everything that determines a result, never where or when it ran.

    Args:
        stage: Kind of unit.
        inputs: Dataclasses, fault maps, mappings, sequences and JSON scalars, nested. A field with
            `metadata={"key": False}` determines nothing.
    """
    value = [FORMAT, torch.__version__, stage, _plain(inputs)]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, FaultMap):
        return {"fault_map": value.key}
    if is_dataclass(value):
        keyed = (field.name for field in fields(value) if field.metadata.get("key", True))
        return {name: _plain(getattr(value, name)) for name in keyed}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True)
class Store:
    """A folder of results: `<stage>/<key>.json`, and `<stage>/<key>.safetensors` for weights.

    A result counts only when its JSON file is there, is whole, and its weights match the hash in
    it; anything else is as if absent and is computed again. Weights are written first, each file
    atomically.
    """

    root: Path

    def path(self, stage: str, key: str, suffix: str) -> Path:
        """Return where a unit's file is."""
        return self.root / stage / f"{key}{suffix}"

    def write(self, stage: str, key: str, result: Result) -> None:
        """Save a result; a reader sees all of it or nothing."""
        weights_hash = None
        if result.weights is not None:
            data = safetensors.torch.save(result.weights)
            weights_hash = hashlib.sha256(data).hexdigest()
            atomic.write_bytes(self.path(stage, key, ".safetensors"), data)
        body = {"values": result.values, "weights_sha256": weights_hash}
        document = {**body, "sha256": _hash_json(body)}
        atomic.write_json(self.path(stage, key, ".json"), document)

    def read(self, stage: str, key: str) -> dict[str, Any] | None:
        """Return the values of a finished unit, or None if it is missing or damaged."""
        try:
            document = json.loads(self.path(stage, key, ".json").read_bytes())
            body = {name: document[name] for name in ("values", "weights_sha256")}
            whole = document["sha256"] == _hash_json(body) and (
                body["weights_sha256"] is None
                or body["weights_sha256"] == self._hash_weights(stage, key)
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return body["values"] if whole else None

    def weights(self, stage: str, key: str) -> dict[str, Tensor]:
        """Return the state dict of a finished unit, on the CPU."""
        return safetensors.torch.load_file(self.path(stage, key, ".safetensors"))

    def _hash_weights(self, stage: str, key: str) -> str:
        return hashlib.sha256(self.path(stage, key, ".safetensors").read_bytes()).hexdigest()


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
