"""The ledger: results of finished units of work, found again by what determined them."""

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
"""Raised when a unit computes something else from the same inputs; older results are not found."""

FORMATS = {"evaluate": 3}
"""Of stages that have one of their own."""

LAYOUT = 2
"""Raised when the files of a store mean something else; a store of another layout is refused."""


OPTIONAL = {"optional": True}
"""Metadata of a field that came later: where it has its default, keys are those without it."""

HALF_WRITTEN = re.compile(r"\.[0-9a-f]{64}\.(json|safetensors)\.")
"""Names of what `atomic` writes before it is renamed to a result."""


@runtime_checkable
class HasContent(Protocol):
    """A value that says itself what determines it, such as a fault map."""

    def content(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Result:
    """What a unit of work leaves behind.

    Args:
        values: Numbers and texts, as JSON holds them.
        weights: State dict of a plain model, or other tensors by name, or None.
        origin: Where it was computed; not part of what was asked, and never of a key.
        header: Texts that are kept in the header of the weights' file.
    """

    values: dict[str, Any]
    weights: dict[str, Tensor] | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    header: dict[str, str] = field(default_factory=dict)


class DamagedError(Exception):
    """A stored result is there, but not as it was written."""


def content_key(stage: str, inputs: Any) -> str:
    """Hash (SHA-256, hex) everything that determines a result, never where or when it ran.

    Args:
        stage: Kind of unit.
        inputs: Dataclasses, values with `content()`, mappings, sequences and JSON scalars, nested.
            A field with `metadata={"key": False}` determines nothing, one with `{"key": "name"}`
            goes by that name, and an `OPTIONAL` one counts where it is not its default.
    """
    value = [FORMATS.get(stage, FORMAT), torch.__version__, stage, plain(inputs)]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Return `value` as nested mappings, lists and scalars: what a key is the hash of."""
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
    """Yield the fields of a dataclass that determine something, by their name in keys."""
    for each in fields(value):
        name, item = each.metadata.get("key", True), getattr(value, each.name)
        if name is not False and not (each.metadata.get("optional") and item == each.default):
            yield (each.name if name is True else name), item


@dataclass(frozen=True)
class Store:
    """A folder of results: `<stage>/<key>.json`, and `<stage>/<key>.safetensors` for weights.

    A result counts only when its JSON file is whole and its weights match the hash in it. Weights
    are written first, each file atomically. Beside the results lie `locks/` (units being computed),
    `logs/` and `checkpoints/` (trainings under way), and `layout.json`.
    """

    root: Path

    def path(self, stage: str, key: str, suffix: str) -> Path:
        """Return where a unit's file is."""
        return self.root / stage / f"{key}{suffix}"

    def log(self, stage: str, key: str) -> Path:
        """Return where a unit's log is."""
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
        """Return whether somebody computes a unit now."""
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
        found = self._layout()
        if found not in (None, LAYOUT):
            age = "an older" if found < LAYOUT else "a newer"
            raise EfatError(
                f"store: {self.root} given; {age} version of efat wrote it (layout {found}, this "
                f"one reads {LAYOUT}); name another store=..., or delete that folder: what is in "
                "it is then computed again"
            )

    def check_writable(self) -> None:
        """Refuse a folder that cannot be written, and leave nothing there.

        Raises:
            EfatError: It is read-only, full, or no folder.
        """
        there = next(p for p in (self.root, *self.root.absolute().parents) if p.exists())
        try:
            with tempfile.TemporaryFile(dir=there) as stream:
                stream.write(b"x")
        except OSError as error:
            raise EfatError(
                f"store: {self.root} given; it cannot be written ({error.strerror or error}); name "
                "another store=... (stage=status only reads)"
            ) from None

    def open(self) -> None:
        """Prepare the folder for writing; remove what a killed writer left half-written."""
        self.root.mkdir(parents=True, exist_ok=True)
        if self._layout() is None:
            write_json(self.root / "layout.json", {"layout": LAYOUT})
        for rest in self.root.glob("*/.*"):
            if not HALF_WRITTEN.match(rest.name) or not rest.is_file():
                continue  # whoever names a folder with files of his own keeps them
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
            DamagedError: It is there, but truncated or changed.
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
        """Return the layout of what is there; None if nothing is, 0 if it cannot be read."""
        try:
            return int(json.loads((self.root / "layout.json").read_bytes())["layout"])
        except (ValueError, KeyError, TypeError):
            return 0
        except OSError:
            return 1 if any(self.root.glob("*/*.json")) else None


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
