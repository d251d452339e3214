"""Find the files of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from efat.errors import EfatError

PART_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Accepted names of the files and folders of each part."""


def find_parts(folder: Path, suffix: str) -> dict[str, list[Path]]:
    """Return the files `<part>*<suffix>` of each part, sorted (shards: train-00000-of-00002...).

    Args:
        folder: Its folder `data` is searched, too, as on the Hugging Face hub.
        suffix: With the dot; empty for folders.

    Raises:
        EfatError: No such folder, or no training part in it.
    """
    if not folder.is_dir():
        raise EfatError(
            f"data.path: {str(folder)!r} given; no such folder; give the one that holds "
            f"train*{suffix or '/'}"
        )
    places = [place for place in (folder, folder / "data") if place.is_dir()]
    parts = {
        part: [p for place in places for p in sorted(place.iterdir()) if _is_of(p, names, suffix)]
        for part, names in PART_NAMES.items()
    }
    if not parts["train"]:
        raise EfatError(f"data.path: {str(folder)!r} given; it holds no train*{suffix or '/'}")
    return {part: files for part, files in parts.items() if files}


def _is_of(path: Path, names: tuple[str, ...], suffix: str) -> bool:
    stem = path.name.removesuffix(suffix)
    first = stem.replace("_", "-").split("-")[0].split(".")[0]
    return first in names and (
        path.is_file() and path.suffix == suffix if suffix else path.is_dir()
    )


def stamp_files(paths: Iterable[Path]) -> str:
    """Describe files by path, size and time of change."""
    return repr([(str(p.absolute()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths])
