"""Summary of a fleet: fault counts and rates, overlap between chips, unsalvageable chips."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from efat.hardware.chip import Fleet
from efat.seeds import generator

MOST_PAIRS = 10_000
"""Most pairs of chips on which overlap is measured; of more pairs, a random sample."""


@dataclass(frozen=True)
class FleetSummary:
    """Figures of a fleet; rates are shares of the array's PEs, in [0, 1].

    Args:
        chips: Number of chips.
        rows: Rows of the array.
        cols: Columns of the array.
        faults_mean: Mean number of faulty PEs per chip.
        faults_variance: Its variance over chips (divided by the number of chips).
        rate_min: Lowest fault rate.
        rate_mean: Mean fault rate.
        rate_max: Highest fault rate.
        overlap_mean: Mean over pairs of chips of |a and b| / |a or b| (Jaccard; 0 if both empty).
        overlap_by_chance: Expected overlap of independent, uniform faults of these rates.
        union_rate: Fault rate of the fused fault maps of all chips.
        unsalvageable: Names of chips beyond the resilience map, from a plan; None: not known.
    """

    chips: int
    rows: int
    cols: int
    faults_mean: float
    faults_variance: float
    rate_min: float
    rate_mean: float
    rate_max: float
    overlap_mean: float
    overlap_by_chance: float
    union_rate: float
    unsalvageable: tuple[str, ...] | None = None

    def table(self) -> list[tuple[str, str]]:
        """Return rows of (name, value), as text."""
        count = "not known yet" if self.unsalvageable is None else len(self.unsalvageable)
        values = asdict(self) | {"unsalvageable": count}
        return [
            (name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
            for name, value in values.items()
        ]


def summarise(fleet: Fleet, seed: int = 0) -> FleetSummary:
    """Summarise a fleet.

    Args:
        fleet: The chips.
        seed: Seed of the sample of pairs.
    """
    rows, cols = fleet.chips[0].fault_map.shape
    rates = np.array([chip.fault_map.fault_rate for chip in fleet])
    counts = np.array([chip.fault_map.fault_count for chip in fleet])
    fused = reduce(np.bitwise_or, (chip.fault_map.words for chip in fleet))  # no second copy
    pairs = overlap_pairs(len(fleet), seed)
    return FleetSummary(
        chips=len(fleet),
        rows=rows,
        cols=cols,
        faults_mean=float(counts.mean()),
        faults_variance=float(counts.var()),
        rate_min=float(rates.min()),
        rate_mean=float(rates.mean()),
        rate_max=float(rates.max()),
        overlap_mean=float(_overlaps(fleet, pairs).mean()) if len(pairs) else 0.0,
        overlap_by_chance=_chance_overlap(rates, pairs),
        union_rate=int(np.bitwise_count(fused).sum()) / (rows * cols),
    )


def overlap_pairs(chips: int, seed: int) -> NDArray[np.intp]:
    """Return pairs of different chips, [pairs, 2]: all, or `MOST_PAIRS` random ones.

    >>> overlap_pairs(3, seed=0).tolist()
    [[0, 1], [0, 2], [1, 2]]
    """
    if chips * (chips - 1) // 2 <= MOST_PAIRS:
        return np.stack(np.triu_indices(chips, 1), axis=1)
    rng = generator(seed, "fleet pairs")
    first = rng.integers(chips, size=MOST_PAIRS)
    return np.stack([first, (first + rng.integers(1, chips, size=MOST_PAIRS)) % chips], axis=1)


def _overlaps(fleet: Fleet, pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    words = [chip.fault_map.words for chip in fleet]
    both = np.array([np.bitwise_count(words[a] & words[b]).sum(dtype=int) for a, b in pairs])
    either = np.array([np.bitwise_count(words[a] | words[b]).sum(dtype=int) for a, b in pairs])
    return np.asarray(both / np.maximum(either, 1))


def _chance_overlap(rates: NDArray[np.float64], pairs: NDArray[np.intp]) -> float:
    """Return the mean of `pq / (p + q - pq)` over pairs of chips."""
    if not len(pairs):
        return 0.0
    p, q = rates[pairs].T
    either = p + q - p * q
    return float(np.divide(p * q, either, out=np.zeros_like(p), where=either > 0).mean())
