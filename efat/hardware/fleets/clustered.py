"""Fleets with clustered faults: round clusters (Thomas process) and blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efat.errors import raise_problems
from efat.hardware.chip import Fleet
from efat.hardware.fleets.sampling import (
    chip_problems,
    draw_exactly,
    draw_fleet,
    int_problems,
    rate_problems,
    size_problems,
)
from efat.hardware.mapping import SystolicArray


def clustered_fleet(
    array: SystolicArray,
    seed: int,
    chips: int,
    fault_rate: float,
    cluster_size: float,
    radius: float,
) -> Fleet:
    """Draw chips with faults in round clusters: a Thomas process (Thomas, 1949).

    Parents are Poisson on the array and a margin of 5 radii around it, each has a Poisson number of
    offspring, displaced by a Gaussian; a PE is faulty where at least one offspring falls. A chip
    has `fault_rate * PEs` offspring on average; the density of parents is that of offspring divided
    by `cluster_size`. Offspring share PEs, so fewer PEs are faulty: of 300 chips of 64x64 PEs with
    clusters of 6 and radius 1.5, 0.9 % at a `fault_rate` of 1 %, 8.7 % at 10 %, 24 % at 30 %.

    Args:
        array: The array.
        seed: The run's seed.
        chips: Number of chips.
        fault_rate: Mean offspring per PE, before overlap: not the rate of faulty PEs, which is
            lower (see above).
        cluster_size: Mean offspring of a parent.
        radius: Standard deviation of the displacement along each axis, in PEs.

    Raises:
        EfatError: Values out of range; all at once.
    """
    raise_problems(
        chip_problems(chips)
        + rate_problems(fault_rate=fault_rate)
        + size_problems(cluster_size=cluster_size, radius=radius)
    )

    def draw(rng: np.random.Generator) -> NDArray[np.bool_]:
        points = thomas_points(
            array.rows, array.cols, fault_rate / cluster_size, cluster_size, radius, rng
        )
        faulty = np.zeros((array.rows, array.cols), dtype=np.bool_)
        faulty[tuple(np.floor(points).astype(np.intp).T)] = True
        return faulty

    return draw_fleet(seed, chips, draw)


def thomas_points(
    rows: int, cols: int, parents: float, offspring: float, radius: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a Thomas process on [0, rows) x [0, cols): points [count, 2].

    Args:
        rows: Extent along the first axis.
        cols: Extent along the second axis.
        parents: Parents per unit of area.
        offspring: Mean offspring of a parent.
        radius: Standard deviation of the displacement along each axis.
        rng: Source of randomness.
    """
    margin = 5 * radius
    low, high = np.array([-margin, -margin]), np.array([rows + margin, cols + margin])
    places = rng.uniform(low, high, (rng.poisson(parents * np.prod(high - low)), 2))
    centres = places.repeat(rng.poisson(offspring, len(places)), axis=0)
    points = centres + rng.normal(0, radius, centres.shape)
    return points[((points >= 0) & (points < [rows, cols])).all(axis=1)]


def block_fleet(
    array: SystolicArray,
    seed: int,
    chips: int,
    fault_rate: float,
    alpha: float,
    block_rows: int,
    block_cols: int,
) -> Fleet:
    """Draw chips whose faults cluster in blocks (Koren & Stapper, 1993).

    The array is cut into blocks; within a block faults are uniform, and the blocks' counts are
    independent Gamma-Poisson with shape `alpha` (see `spread_fleet`). A count beyond a block is
    cut to the whole block, which lowers the mean: 1,000 chips of 16x16 PEs in blocks of 4x4 with
    `alpha` 0.5 have a mean rate of 0.26 at `fault_rate` 0.3 and 0.37 at 0.5. Blocks at the far
    edges are smaller if the size does not divide the array.

    Args:
        array: The array.
        seed: The run's seed.
        chips: Number of chips.
        fault_rate: Mean rate, before counts are cut.
        alpha: Spread between blocks; smaller: more clustered.
        block_rows: Rows of a block.
        block_cols: Columns of a block.

    Raises:
        EfatError: Values out of range; all at once.
    """
    raise_problems(
        chip_problems(chips)
        + rate_problems(fault_rate=fault_rate)
        + size_problems(alpha=alpha)
        + int_problems(1, block_rows=block_rows, block_cols=block_cols)
    )

    def draw(rng: np.random.Generator) -> NDArray[np.bool_]:
        faulty = np.zeros((array.rows, array.cols), dtype=np.bool_)
        for r in range(0, array.rows, block_rows):
            for c in range(0, array.cols, block_cols):
                block = faulty[r : r + block_rows, c : c + block_cols]
                count = rng.poisson(rng.gamma(alpha, fault_rate * block.size / alpha))
                block[:] = draw_exactly(len(block), block.shape[1], count, rng)
        return faulty

    return draw_fleet(seed, chips, draw)
