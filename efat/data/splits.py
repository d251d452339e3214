"""Which samples train, validate and test: stratified, and the same for the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from efat.errors import EfatError, raise_problems

Array = NDArray[Any]
Indices = NDArray[np.int64]
Size = float | int | None
"""A share in (0, 1) or a count of samples, as in scikit-learn's `train_test_split`."""

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SplitSizes:
    """How the parts of a data set become three splits.

    Args:
        val: Cut off for validation, unless the data set has a part `val`.
        val_from: Where it is cut off: `train`, or `test` where a published checkpoint has seen all
            of `train`, so that accuracy there says nothing.
        test: Cut off for the test where the data set has no part `test`.
        train: Keep only so many of what is left to train on; None keeps all.
        seed: Of the cuts.

    Raises:
        EfatError: All wrong values at once.
    """

    val: Size = 0.1
    val_from: Literal["train", "test"] = "train"
    test: Size = None
    train: Size = None
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = {"val_size": self.val, "test_size": self.test, "train_size": self.train}
        problems = [
            f"data.{name}: {size!r} given; a share in (0, 1), a count >= 1 or null is needed"
            for name, size in sizes.items()
            if size is not None and not _is_size(size)
        ]
        if self.val_from not in ("train", "test"):
            problems.append(f"data.val_from: {self.val_from!r} given; allowed: train, test")
        if type(self.seed) is not int or self.seed < 0:
            problems.append(f"data.split_seed: {self.seed!r} given; an int >= 0 is needed")
        raise_problems(problems)


def _is_size(size: Any) -> bool:
    return 0 < size < 1 if isinstance(size, float) else type(size) is int and size >= 1


def split_parts(parts: Mapping[str, Array], sizes: SplitSizes) -> dict[str, tuple[str, Indices]]:
    """Return, for `train`, `val` and `test`, the part that it comes from and its samples there.

    Args:
        parts: Targets of the parts that the data set has: `train`, and perhaps `val` and `test`.
        sizes: What to cut off.

    Raises:
        EfatError: A split cannot be made.
    """
    if "train" not in parts:
        raise EfatError(f"data: has the parts {', '.join(parts)}; a part named train is needed")
    splits = {
        name: (name, np.arange(len(parts[name]))) for name in SPLITS if parts.get(name) is not None
    }
    if "test" not in splits:
        _cut(splits, "test", "train", sizes.test, parts, sizes.seed)
    if "val" not in splits:
        _cut(splits, "val", sizes.val_from, sizes.val, parts, sizes.seed)
    if sizes.train is not None:
        part, indices = splits["train"]
        if isinstance(sizes.train, float) or sizes.train < len(indices):
            kept = cut(indices, parts[part], sizes.train, sizes.seed, "train_size")[1]
            splits["train"] = (part, kept)
    return {name: splits[name] for name in SPLITS}


def _cut(
    splits: dict[str, tuple[str, Indices]],
    new: str,
    source: str,
    size: Size,
    parts: Mapping[str, Array],
    seed: int,
) -> None:
    """Move samples of the split `source` to the split `new`."""
    if size is None:
        raise EfatError(
            f"data.{new}_size: null given, but the data set has no part {new!r}; give a share or a "
            "count of samples to cut off"
        )
    part, indices = splits[source]
    kept, off = cut(indices, parts[part], size, seed, f"{new}_size")
    splits[source], splits[new] = (part, kept), (part, off)


def cut(
    indices: Indices, targets: Array, size: float | int, seed: int, key: str = "size"
) -> tuple[Indices, Indices]:
    """Cut `size` of `indices` off, stratified where targets are classes; (kept, cut off).

    Raises:
        EfatError: Too few samples, of a class or in all.
    """
    classes = targets[indices] if is_classes(targets) else None
    try:
        kept, off = train_test_split(indices, test_size=size, stratify=classes, random_state=seed)
    except ValueError as error:
        raise EfatError(f"data.{key}: {size!r} given; {str(error).splitlines()[0]}") from None
    return kept, off


def is_classes(targets: Array) -> bool:
    """Tell class indices, one a sample, from other targets."""
    return bool(targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer))


def hash_arrays(*arrays: Array) -> str:
    """Hash (SHA-256, hex) shapes, types and contents."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
