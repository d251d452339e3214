"""Price every group of a small fleet: all 2^n subsets of its chips.

For a cost by fault count the PEs are sorted by *signature*, the set of chips that are faulty there.
A group meets all PEs but those whose signature lies in its complement, so one sum over subsets (a
zeta transform, Yates 1937) gives the counts of all groups.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from efat.planning.cost import CountCost, Floats, Ints
from efat.planning.merge_forest import ChipIndices
from efat.planning.problem import Problem

MOST_COUNTED = 20
"""Most chips for which all groups are listed under a `CountCost`: a million groups."""
MOST_ASKED = 11
"""Most chips for which a plain callable is called for every group: two thousand calls."""


def can_list_all(problem: Problem) -> bool:
    """Return whether all groups can be listed."""
    counted = isinstance(problem.cost, CountCost)
    return len(problem) <= (MOST_COUNTED if counted else MOST_ASKED)


def chips_of_subset(subset: int) -> ChipIndices:
    """Return the chips of a subset written as bits.

    >>> chips_of_subset(0b1010)
    (1, 3)
    """
    return tuple(i for i in range(subset.bit_length()) if subset >> i & 1)


def subset_sums(values: Floats) -> Floats:
    """Sum `values` [n] over every subset [2^n], subset written as bits.

    >>> subset_sums(np.array([1.0, 10.0])).tolist()
    [0.0, 1.0, 10.0, 11.0]
    """
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


def subset_prices(problem: Problem) -> Floats:
    """Price every group [2^n]; inf for those that rules or faults forbid, and for the empty one."""
    n = len(problem)
    if isinstance(problem.cost, CountCost):
        prices = problem.rules.prices(problem.cost.of_counts(_subset_counts(problem)))
    else:
        asked = [
            problem.prices(problem.fuse(chips_of_subset(s))[None])[0] for s in range(1, 1 << n)
        ]
        prices = np.array([np.inf, *asked])
    sizes = np.bitwise_count(np.arange(1 << n, dtype=np.uint64))
    prices[sizes > problem.max_members] = np.inf
    prices[0] = np.inf
    return prices


def _subset_counts(problem: Problem) -> Ints:
    n = len(problem)
    bits = np.unpackbits(problem.words.view(np.uint8), axis=1)
    signatures = (bits.astype(np.int64) << np.arange(n)[:, None]).sum(axis=0)
    inside = np.bincount(signatures, minlength=1 << n)
    for i in range(n):  # inside[s] becomes the number of PEs whose signature is a subset of s
        pairs = inside.reshape(-1, 2, 1 << i)
        pairs[:, 1] += pairs[:, 0]
    counts: Ints = bits.shape[1] - inside[::-1]
    return counts


def relaxation(prices: Floats, chips: int) -> tuple[Floats, float]:
    """Solve the covering relaxation over all groups by column generation.

    Returns:
        Dual values [chips], and the bound that they prove: with `worst = min c(G) - u(G)` over all
        groups, the values less `-worst` at one chip per group stay valid, and a plan has no more
        groups than chips, so `sum u + chips * min(worst, 0)` is a bound.
    """
    known = [1 << i for i in range(chips)]
    while True:
        cover = np.array([[s >> i & 1 for s in known] for i in range(chips)], dtype=np.float64)
        solved = linprog(prices[known], A_ub=-cover, b_ub=-np.ones(chips), method="highs")
        values = np.maximum(-solved.ineqlin.marginals, 0.0)
        reduced = prices - subset_sums(values)
        new = np.argpartition(reduced, min(200, len(reduced) - 1))[:200]
        new_subsets = sorted({int(s) for s in new if reduced[s] < -1e-7} - set(known))
        if not new_subsets:
            break
        known += new_subsets
    return values, float(values.sum() + chips * min(float(reduced.min()), 0.0))


def best_partition(prices: Floats) -> tuple[tuple[ChipIndices, ...], float]:
    """Return the partition of all chips of least total price, and that price.

    The best partition of a set S with highest chip k is the group of k and some chips A, and the
    best partition of the rest: `best[S] = min over A in S - k of price[A + k] + best[S - k - A]`
    (Yeh 1986), a subset convolution in (min, +), 3^(n-1) additions in all.

    Args:
        prices: Price of every group [2^n], inf where it is not allowed.
    """
    chips = len(prices).bit_length() - 1
    best = np.full(len(prices), np.inf)
    best[0] = 0.0
    for k in range(chips):
        half = 1 << k
        best[half : 2 * half] = _convolve(prices[None, half : 2 * half], best[None, :half])[0]
    return _trace(prices, best), float(best[-1])


def _convolve(f: Floats, g: Floats) -> Floats:
    """Return `min over A in S of f[A] + g[S - A]` for every S, for each row of [rows, 2^k]."""
    rows, width = f.shape
    if width == 1:
        return f + g
    half = width // 2
    f0, f1, g0, g1 = f[:, :half], f[:, half:], g[:, :half], g[:, half:]
    if rows * width > 1 << 18:  # one after the other, to save memory
        without, in_f, in_g = _convolve(f0, g0), _convolve(f1, g0), _convolve(f0, g1)
    else:
        stacked = _convolve(np.concatenate([f0, f1, f0]), np.concatenate([g0, g0, g1]))
        without, in_f, in_g = stacked[:rows], stacked[rows : 2 * rows], stacked[2 * rows :]
    return np.concatenate([without, np.minimum(in_f, in_g)], axis=1)


def _trace(prices: Floats, best: Floats) -> tuple[ChipIndices, ...]:
    """Read the groups back from the table of best prices."""
    groups, remaining = list[ChipIndices](), len(prices) - 1
    if np.isinf(best[remaining]):
        return ()
    while remaining:
        top = 1 << (remaining.bit_length() - 1)
        rest = remaining ^ top
        subsets = subset_sums(np.array([float(1 << i) for i in chips_of_subset(rest)])).astype(
            np.int64
        )
        totals = prices[subsets | top] + best[rest ^ subsets]
        group = int(subsets[int(totals.argmin())]) | top
        groups.append(chips_of_subset(group))
        remaining ^= group
    return tuple(groups)
