"""Split a data set into train, val and test: stratified, and the same for the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError
from sklearn.model_selection import train_test_split

from efat.errors import EfatError, checked

Array = NDArray[Any]
Indices = NDArray[np.int64]
SPLITS = ("train", "val", "test")


def _size(value: Any) -> Any:
    share = 0 < value < 1 if isinstance(value, float) else type(value) is int and value >= 1
    if value is not None and not share:
        raise PydanticCustomError("size", "a share in (0, 1), a count >= 1 or null")
    return value


Size = Annotated[float | int | None, PlainValidator(_size)]
"""A share in (0, 1) or a count of samples, as in scikit-learn's `train_test_split`."""


@checked("data")
class SplitSizes:
    """How the parts of a data set become three splits.

    Args:
        val_size: Cut off for validation, unless the data set has a part `val`.
        val_from: Part that it is cut off: `train`, or `test` where a published checkpoint was
            trained on all of `train`, so that accuracy there is no evidence.
        test_size: Cut off for the test where the data set has no part `test`.
        train_size: Keep only so many of the remaining samples to train on; None keeps all.
        split_seed: Of the cuts.

    Raises:
        EfatError: All wrong values at once.
    """

    val_size: Size = 0.1
    val_from: Literal["train", "test"] = "train"
    test_size: Size = None
    train_size: Size = None
    split_seed: Annotated[int, Field(ge=0, strict=True)] = 0


def split_parts(parts: Mapping[str, Array], sizes: SplitSizes) -> dict[str, tuple[str, Indices]]:
    """Return, for `train`, `val` and `test`, the part that it comes from and its samples there.

    Args:
        parts: Targets of the parts that the data set has: `train`, and perhaps `val` and `test`.
        sizes: How much to cut off.

    Raises:
        EfatError: A split cannot be made.
    """
    if "train" not in parts:
        raise EfatError(f"data: has the parts {', '.join(parts)}; a part named train is needed")
    splits = {
        name: (name, np.arange(len(parts[name]))) for name in SPLITS if parts.get(name) is not None
    }
    if "test" not in splits:
        _cut(splits, "test", "train", sizes.test_size, parts, sizes.split_seed)
    if "val" not in splits:
        _cut(splits, "val", sizes.val_from, sizes.val_size, parts, sizes.split_seed)
    if sizes.train_size is not None:
        part, indices = splits["train"]
        if isinstance(sizes.train_size, float) or sizes.train_size < len(indices):
            kept = cut(indices, parts[part], sizes.train_size, sizes.split_seed, "train_size")[1]
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
    """Return whether targets are class indices, one per sample."""
    return bool(targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer))


def hash_arrays(*arrays: Array) -> str:
    """Hash (SHA-256, hex) shapes, types and contents."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
