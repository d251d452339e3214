"""Decode the samples of a data set once, and check that a network can be trained on them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from efat.data.resize import Sizing, to_tensor
from efat.data.samples import Array, ArraySamples, BadImageError, Samples
from efat.data.splits import is_classes
from efat.errors import EfatError


def check_targets(part: str, targets: Array) -> None:
    """Refuse invalid targets.

    Raises:
        EfatError: No samples, targets that are not finite numbers, or classes below 0.
    """
    if not np.issubdtype(targets.dtype, np.number):
        raise EfatError(
            f"data: labels of {part} are of type {targets.dtype}; class indices (0, 1, ...) or "
            "numbers are needed"
        )
    if not len(targets):
        raise EfatError(f"data: {part} has no samples")
    if is_classes(targets) and targets.min() < 0:
        row = int(targets.argmin())
        raise EfatError(
            f"data: {part}, row {row}: label {targets[row]} given; class indices from 0 are needed"
        )
    if not np.isfinite(targets).all():
        row = int(np.argwhere(~np.isfinite(targets))[0][0])
        raise EfatError(f"data: {part}, row {row}: a target is not finite; leave such rows out")


def as_targets(targets: Array) -> Tensor:
    """Return classes as int64, other targets as float32."""
    kind = np.int64 if np.issubdtype(targets.dtype, np.integer) else np.float32
    return torch.from_numpy(targets.astype(kind))


def decode_all(
    parts: dict[str, Samples], sizing: Sizing, skip_bad: bool
) -> tuple[dict[str, Samples], tuple[str, ...]]:
    """Decode every image of every part.

    Args:
        parts: Samples by name of the part.
        sizing: Size of the decoded images.
        skip_bad: Skip samples that cannot be decoded.

    Returns:
        The decoded parts, and the problem of each skipped sample.

    Raises:
        EfatError: Every sample that cannot be decoded, or samples of different shapes.
    """
    decoded: dict[str, Samples] = {}
    problems: list[str] = []
    for name, samples in parts.items():
        inputs, kept = [], []
        for index in range(len(samples)):
            try:
                inputs.append(to_tensor(samples[index], sizing).numpy())
                kept.append(index)
            except BadImageError as error:  # noqa: PERF203 - each sample may fail
                problems += error.problems
        if problems and (not skip_bad or not inputs):
            raise EfatError(problems)
        decoded[name] = ArraySamples(_stacked(name, inputs), samples.targets[kept])
    shapes = {samples[0].shape for samples in decoded.values()}
    if len(shapes) > 1:
        raise EfatError(f"data: the parts {', '.join(parts)} have inputs of shapes {shapes}")
    return decoded, tuple(problems)


def _stacked(part: str, inputs: list[Array]) -> Array:
    shapes = sorted({one.shape for one in inputs})
    if len(shapes) > 1:
        raise EfatError(
            f"data: {part} has inputs of different shapes, [channels, height, width]: "
            f"{', '.join(map(str, shapes[:4]))}; set data.image_size (and data.image_mode: L for "
            "grey, RGB for colour)"
        )
    return np.stack(inputs)
