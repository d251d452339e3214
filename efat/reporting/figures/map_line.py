"""The line of a resilience map, for figures on paper and on pages."""

from __future__ import annotations

import math

import numpy as np

from efat.resilience import ResilienceMap

ABOVE = 1.08
"""Of the budget: where what does not meet the constraint within it is drawn."""
POINTS = 300
"""Along the axis; both sides of each grid point are drawn besides."""


def map_line(
    resilience_map: ResilienceMap, steps_per_epoch: float
) -> tuple[list[float], list[float | None]]:
    """Return severities and epochs, upright where the map has a step; None is beyond the map.

    >>> map_line(ResilienceMap(0.9, (0.5,), (20.0,), "ceil"), 10)[1][-2:]
    [2.0, 2.0]
    """
    last = max(resilience_map.severities)
    above = [np.nextafter(s, 1) for s in (0.0, *resilience_map.severities) if s < last]
    grid = sorted({0.0, *np.linspace(0, last, POINTS), *resilience_map.severities, *above})
    amounts = [resilience_map.amount(float(severity)) for severity in grid]
    epochs = [None if math.isinf(a) else a / steps_per_epoch for a in amounts]
    return [float(severity) for severity in grid], epochs
