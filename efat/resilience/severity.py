"""Severity measures of a fault map, the x axis of the resilience map (METHOD section 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efat.errors import raise_problems
from efat.hardware import FaultMap, SystolicArray, WeightLayout, sum_per_pe

Severity = Callable[[FaultMap], float]

IN_WORDS = {
    "array_rate": "faulty PEs",
    "weight_rate": "weights pruned",
    "magnitude_rate": "weight magnitude pruned",
    "taylor_rate": "saliency pruned",
}
"""The quantity of which each measure is the share."""


def array_rate(fault_map: FaultMap) -> float:
    """Return the share of the array's PEs that are faulty, in [0, 1]."""
    return fault_map.fault_rate


def weight_rate(layouts: Iterable[WeightLayout], array: SystolicArray) -> Severity:
    """Return the measure "share of the model's mapped weights that the fault map prunes".

    It is in [0, 1]. A small network does not use the whole array, so the array rate misleads.

    >>> measure = weight_rate([WeightLayout((1, 2))], SystolicArray(2, 2))
    >>> measure(FaultMap([[True, True], [False, True]]))
    0.5
    """
    counts = [(layout, np.ones(layout.shape)) for layout in layouts]
    return saliency_rate(counts, array)


def saliency_rate(
    saliencies: Iterable[tuple[WeightLayout, NDArray[Any]]], array: SystolicArray
) -> Severity:
    """Return the measure "share of the model's saliency that the fault map prunes", in [0, 1].

    Saliencies are `|w|` (magnitude) or `|w * dL/dw|` (first-order Taylor: Molchanov et al., CVPR
    2019).

    Args:
        saliencies: Layout and saliency of each weight tensor, see `efat.nn.saliency`.
        array: A weight-stationary array.

    Raises:
        EfatError: A saliency that is negative, not finite, of another shape, or 0 throughout.

    >>> layout = WeightLayout((1, 2))
    >>> measure = saliency_rate([(layout, np.array([[3.0, 1.0]]))], SystolicArray(2, 2))
    >>> measure(FaultMap([[True, False], [False, False]]))
    0.75
    """
    per_pe = np.zeros((array.rows, array.cols))
    problems = []
    for layout, values in saliencies:
        if values.shape == layout.shape and np.isfinite(values).all() and (values >= 0).all():
            per_pe += sum_per_pe(layout, array, values)
        else:
            problems.append(
                f"saliency: values of shape {values.shape} given for a weight of {layout.shape}; "
                "one finite number >= 0 per weight is needed"
            )
    total = per_pe.sum()
    if not problems and not total > 0:
        problems.append("saliency: 0 for every weight; a share of nothing has no meaning")
    raise_problems(problems)
    return lambda fault_map: float(per_pe[fault_map.faulty].sum() / total)
