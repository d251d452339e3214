"""Read tables of numbers, such as those that ship with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from efat.data.datamodule import DataModule
from efat.data.samples import Array, ArraySamples, Samples


class TableData(DataModule):
    """The table of a function such as `sklearn.datasets.load_diabetes(return_X_y=True)`.

    Each feature is normalised on the training split. Class targets (integers) stay as they are;
    others become [samples, 1].

    Args:
        load: Returns (features [samples, features], targets [samples]).
        target_scale: Targets that are not classes are divided by it: their unit.
        options: Fields of `efat.data.datamodule.Options`.
    """

    def __init__(
        self,
        load: Callable[[], tuple[Array, Array]],
        target_scale: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.load, self.target_scale = load, target_scale

    def stamp(self) -> str:
        return f"{self.load!r} {self.target_scale}"

    def read(self) -> dict[str, Samples]:
        """Read the table."""
        features, targets = (np.asarray(array) for array in self.load())
        if not np.issubdtype(targets.dtype, np.integer):
            targets = (targets / self.target_scale).astype(np.float32)[:, None]
        return {"train": ArraySamples(features.astype(np.float32), targets)}
