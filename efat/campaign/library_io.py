"""Read and write a library in the folder of the run that planned it.

`library.json` lists the entries and is replaced as a whole. Fault maps are in fleet files and
weights in checkpoints beside it; each is written once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efat.campaign.library import Entry, Library, file_names, new_maps
from efat.engine import Store
from efat.errors import EfatError
from efat.hardware import FaultMap, Fleet
from efat.hardware.fleets import load_fleet, save_fleet
from efat.io import write_bytes, write_json
from efat.planning import LibraryModel

FILE = "library.json"
FORMAT = 2


def write_library(folder: Path, library: Library, before: Library | None, store: Store) -> None:
    """Write the new entries, `library.json` last, so that a reader sees all of them or none.

    Args:
        folder: The folder of the library.
        library: What to write.
        before: The library as read when the work began; None: there was none.
        store: Holds the weights.

    Raises:
        EfatError: Another run changed the library meanwhile; its entries are kept.
    """
    if before is not None:
        if read_library(folder) != before:
            raise EfatError(
                f"library: {folder} was changed by another run meanwhile; what was trained is in "
                "the store, so run the same command again"
            )
        for what, chips in (
            ("chips", library.chips[len(before.chips) :]),
            ("maps", new_maps(before, library)),
        ):
            for name in file_names(what, chips):
                save_fleet(Fleet(chips), folder / name)
    for entry in library.entries:
        target = folder / entry.checkpoint
        if entry.weights is not None and not target.exists():
            write_bytes(target, store.path(*entry.weights, ".safetensors").read_bytes())
    write_json(folder / FILE, _document(library))


def _document(library: Library) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "compatibility_hash": library.compatibility_hash,
        "chip_files": list(library.chip_files),
        "map_files": list(library.map_files),
        "unsalvageable": list(library.unsalvageable),
        "left_out": list(library.left_out),
        "models": [
            {
                "model": entry.model.name,
                "members": list(entry.model.members),
                "fused_fault_rate": entry.model.fused.fault_rate,
                "fused_map_sha256": entry.model.fused.key,
                "amount_steps": entry.amount_steps if entry.amount_steps < math.inf else None,
                "checkpoint": entry.checkpoint if entry.weights else None,
                "weights": entry.weights,
                "earlier": list(entry.earlier),
            }
            for entry in library.entries
        ],
    }


def read_library(folder: Path) -> Library:
    """Read a library.

    Raises:
        EfatError: There is none, or a file of it is damaged; the file is named.
    """
    path = folder / FILE
    if not path.is_file():
        raise EfatError(
            f"library: {folder} given; no {FILE} in it; name the folder of a run that planned or "
            f"retrained{_suggest(folder)}"
        )
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise EfatError(
                f"library: {path} is of format {document['format']}; {FORMAT} is needed"
            )
        chips = [chip for name in document["chip_files"] for chip in load_fleet(folder / name)]
        maps = {
            chip.fault_map.key: chip.fault_map
            for name in document["map_files"]
            for chip in load_fleet(folder / name)
        }
        return Library(
            document["compatibility_hash"],
            tuple(_entry(row, maps) for row in document["models"]),
            tuple(chips),
            tuple(document["unsalvageable"]),
            tuple(document["chip_files"]),
            tuple(document["map_files"]),
            tuple(document.get("left_out", ())),  # none in a library of an earlier version
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EfatError(f"library: {path} is damaged ({type(error).__name__}: {error})") from None


def _entry(row: dict[str, Any], maps: Mapping[str, FaultMap]) -> Entry:
    weights = row["weights"]
    fused = maps[row["fused_map_sha256"]]
    return Entry(
        LibraryModel(row["model"], fused, tuple(row["members"]), finished=weights is not None),
        math.inf if row["amount_steps"] is None else float(row["amount_steps"]),
        None if weights is None else (weights[0], weights[1]),
        tuple((stage, key) for stage, key in row["earlier"]),
    )


def _suggest(folder: Path) -> str:
    """Name the newest library beside or below the folder that was given, if there is one."""
    places = [folder, folder.parent]
    libraries = sorted(path for place in places for path in place.glob(f"*/{FILE}"))
    return f", such as library={libraries[-1].parent}" if libraries else ""
