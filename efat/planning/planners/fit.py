"""Best-fit decreasing on the real unions: few groups first, for when `max_groups` is tight."""

from __future__ import annotations

import numpy as np

from efat.planning.merge_forest import ChipIndices
from efat.planning.problem import Problem


def fit_decreasing(problem: Problem) -> list[ChipIndices]:
    """Put each chip, most faults first, where the fused map grows dearer by the least.

    A new group is opened only where no open one can take the chip (best-fit decreasing), so the
    groups are few, not necessarily the fewest.
    """
    order = np.lexsort((np.arange(len(problem)), -problem.counts)).tolist()
    fused = np.empty((0, problem.words.shape[1]), dtype=np.uint64)
    prices = np.empty(0)
    members: list[list[int]] = []
    for chip in order:
        unions = problem.union_prices(problem.words[chip], fused)
        rises = np.where([len(m) < problem.max_members for m in members], unions - prices, np.inf)
        if len(rises) and np.isfinite(rises.min()):
            row = int(rises.argmin())
            fused[row] |= problem.words[chip]
            prices[row] = unions[row]
            members[row].append(chip)
        else:
            fused = np.vstack([fused, problem.words[chip]])
            prices = np.append(prices, problem.single_prices[chip])
            members.append([chip])
    return [tuple(sorted(group)) for group in members]
