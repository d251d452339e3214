"""Tables of numbers, such as those that ship with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from efat.data.base import DataModule, Options
from efat.data.samples import Array, ArraySamples, Samples

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TableData(DataModule):
    """What a function such as `sklearn.datasets.load_diabetes(return_X_y=True)` returns.

    Features are normalised one by one on the training split. Targets of classes (integers) stay;
    others become [samples, 1], standardised on all samples: their unit is one deviation.

    Args:
        load: Returns (features [samples, features], targets [samples]).
        options: See `efat.data.base.Options`.
    """

    def __init__(self, load: Callable[[], tuple[Array, Array]], **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.load = load

    def stamp(self) -> str:
        return repr(self.load)

    def read(self) -> dict[str, Samples]:
        """Read the table."""
        features, targets = (np.asarray(array) for array in self.load())
        if not np.issubdtype(targets.dtype, np.integer):
            targets = ((targets - targets.mean()) / targets.std()).astype(np.float32)[:, None]
        return {"train": ArraySamples(features.astype(np.float32), targets)}
