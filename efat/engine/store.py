"""The store: results of finished units of work, by a hash of everything that determines them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import safetensors
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from efat.errors import EfatError
from efat.io import write_bytes, write_json

FORMAT = 2
"""Increase it when a unit computes something else from the same inputs; it is part of keys."""

FORMATS = {"evaluate": 3}
"""Formats of stages that differ."""

LAYOUT = 2
"""Increase it when the files of a store change; a store of another layout is refused."""


OPTIONAL = {"optional": True}
"""Metadata of a field that was added later: at its default it does not change keys."""

HALF_WRITTEN = re.compile(r"\.[0-9a-f]{64}\.(json|safetensors)\.")
"""Names of files that `efat.io` writes before it renames them to a result."""


@runtime_checkable
class HasContent(Protocol):
    """A value with its own description of what determines it, such as a fault map."""

    def content(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Result:
    """Result of a unit of work.

    Args:
        values: Numbers and texts, as JSON holds them.
        weights: State dict of a plain model, or other tensors by name, or None.
        origin: Host that computed it, and retries; never part of a key.
        header: Texts for the header of the weights' file.
    """

    values: dict[str, Any]
    weights: dict[str, Tensor] | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    header: dict[str, str] = field(default_factory=dict)


class DamagedError(Exception):
    """A stored result is truncated or changed."""


def content_key(stage: str, inputs: Any) -> str:
    """Hash (SHA-256, hex) everything that determines a result, never where or when it ran.

    Args:
        stage: Kind of unit.
        inputs: Dataclasses, values with `content()`, mappings, sequences and JSON scalars, nested.
            A field with `metadata={"key": False}` is left out, and so is an `OPTIONAL` one at
            its default.
    """
    value = [FORMATS.get(stage, FORMAT), torch.__version__, stage, plain(inputs)]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Return `value` as nested mappings, lists and scalars, whose JSON is hashed."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, HasContent):
        return value.content()
    if is_dataclass(value):
        return {name: plain(item) for name, item in _keyed(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _keyed(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and value of the fields that are part of keys."""
    for each in fields(value):
        item, unused = getattr(value, each.name), each.metadata.get("optional")
        if each.metadata.get("key", True) and not (unused and item == each.default):
            yield each.name, item


@dataclass(frozen=True)
class Store:
    """A folder of results: `<stage>/<key>.json`, and `<stage>/<key>.safetensors` for weights.

    A result counts only when its JSON file is whole and its weights match the hash in it. Weights
    are written first, each file atomically. Beside the results lie `locks/` (units being computed),
    `logs/` and `checkpoints/` (trainings under way), and `layout.json`.
    """

    root: Path

    def path(self, stage: str, key: str, suffix: str) -> Path:
        """Return the path of a unit's file."""
        return self.root / stage / f"{key}{suffix}"

    def log(self, stage: str, key: str) -> Path:
        """Return the path of a unit's log."""
        return self.root / "logs" / stage / f"{key}.log"

    def checkpoints(self, stage: str, key: str) -> Path:
        """Return the folder of a training under way."""
        return self.root / "checkpoints" / stage / key

    def lock(self, stage: str, key: str) -> FileLock:
        """Return the lock of a unit; the system releases it when its owner dies."""
        return FileLock(self.lock_path(stage, key), timeout=0)

    def lock_path(self, stage: str, key: str) -> Path:
        """Return the file of a unit's lock."""
        return self.root / "locks" / stage / f"{key}.lock"

    def drop_checkpoints(self, stage: str, key: str) -> None:
        """Remove the checkpoints of a training that is done."""
        shutil.rmtree(self.checkpoints(stage, key), ignore_errors=True)

    def is_running(self, stage: str, key: str) -> bool:
        """Return whether a process computes a unit now."""
        if not self.lock_path(stage, key).exists():
            return False
        try:
            with self.lock(stage, key):
                return False
        except Timeout:
            return True
        except OSError:  # a folder that this user may only read
            return False

    def check_layout(self) -> None:
        """Refuse a store that another version of efat wrote.

        Raises:
            EfatError: Its layout is older or newer.
        """
        layout = self._layout()
        if layout not in (None, LAYOUT):
            age = "an older" if layout < LAYOUT else "a newer"
            raise EfatError(
                f"store: {self.root} given; {age} version of efat wrote it (layout {layout}, this "
                f"one reads {LAYOUT}); name another store=..., or delete that folder: its "
                "results are then computed again"
            )

    def check_writable(self) -> None:
        """Refuse a folder that cannot be written; leave no file in it.

        Raises:
            EfatError: It is read-only, full, or no folder.
        """
        existing = next(p for p in (self.root, *self.root.absolute().parents) if p.exists())
        try:
            with tempfile.TemporaryFile(dir=existing) as stream:
                stream.write(b"x")
        except OSError as error:
            raise EfatError(
                f"store: {self.root} given; it cannot be written ({error.strerror or error}); name "
                "another store=... (stage=status only reads)"
            ) from None

    def open(self) -> None:
        """Prepare the folder for writing; remove the half-written files of killed writers."""
        self.root.mkdir(parents=True, exist_ok=True)
        if self._layout() is None:
            write_json(self.root / "layout.json", {"layout": LAYOUT})
        for rest in self.root.glob("*/.*"):
            if not HALF_WRITTEN.match(rest.name) or not rest.is_file():
                continue  # a file of the user's own
            stage, key = rest.parent.name, rest.name.split(".")[1]
            with contextlib.suppress(Timeout, FileNotFoundError), self.lock(stage, key):
                rest.unlink()

    def write(self, stage: str, key: str, result: Result) -> None:
        """Save a result; a reader sees all of it or nothing."""
        weights_hash = None
        if result.weights is not None:
            data = safetensors.torch.save(result.weights, result.header or None)
            weights_hash = hashlib.sha256(data).hexdigest()
            write_bytes(self.path(stage, key, ".safetensors"), data)
        body = {
            "values": result.values,
            "origin": result.origin,
            "weights_sha256": weights_hash,
        }
        document = {**body, "sha256": _hash_json(body)}
        write_json(self.path(stage, key, ".json"), document)

    def read(self, stage: str, key: str) -> Result | None:
        """Return a finished unit, without its weights, or None if it is missing.

        Raises:
            DamagedError: It is truncated or changed.
        """
        path = self.path(stage, key, ".json")
        try:
            document = json.loads(path.read_bytes())
            body = {name: document[name] for name in ("values", "origin", "weights_sha256")}
            whole = document["sha256"] == _hash_json(body)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise DamagedError(str(path))
        if body["weights_sha256"] not in (None, self._hash_weights(stage, key)):
            raise DamagedError(str(self.path(stage, key, ".safetensors")))
        return Result(body["values"], origin=body["origin"])

    def weights(self, stage: str, key: str) -> dict[str, Tensor]:
        """Return the state dict of a finished unit, on the CPU."""
        return safetensors.torch.load_file(self.path(stage, key, ".safetensors"))

    def header(self, stage: str, key: str) -> dict[str, str]:
        """Return the header of a finished unit's weights."""
        with safetensors.safe_open(self.path(stage, key, ".safetensors"), "pt") as file:
            return file.metadata() or {}

    def _hash_weights(self, stage: str, key: str) -> str | None:
        try:
            data = self.path(stage, key, ".safetensors").read_bytes()
        except FileNotFoundError:
            return "missing"
        return hashlib.sha256(data).hexdigest()

    def _layout(self) -> int | None:
        """Return the layout of the folder; None if it is empty, 0 if its layout cannot be read."""
        try:
            return int(json.loads((self.root / "layout.json").read_bytes())["layout"])
        except (ValueError, KeyError, TypeError):
            return 0
        except OSError:
            return 1 if any(self.root.glob("*/*.json")) else None


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
