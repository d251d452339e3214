"""Local search over whole plans: move, swap, split, merge, and re-form a few groups at once."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from efat.errors import raise_problems
from efat.planning.cost import Words
from efat.planning.merge_forest import ChipIndices
from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.planners.hierarchical import Hierarchical
from efat.planning.problem import Problem
from efat.seeds import generator

REFORMED = 40
"""Most chips that one re-forming takes apart; more would be slow and rarely help."""

HIERARCHICAL = Hierarchical()


@dataclass(frozen=True)
class LocalSearch(GroupingPlanner):
    """Improve the plan of another planner by small random changes; the price never rises.

    Args:
        start: The planner that gives the first plan (its own rules are not used).
        iterations: Most changes tried; null (None): 4 per chip, at least 500.
        seconds: Time limit; null (None): none, and then the plan depends on the seed alone.
    """

    description: ClassVar[str] = "a plan improved move by move"
    start: GroupingPlanner = HIERARCHICAL
    iterations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        raise_problems(
            f"planner.{name}: {value!r} given; a number >= 0 or null is needed"
            for name, value in (("iterations", self.iterations), ("seconds", self.seconds))
            if value is not None and not value >= 0
        )

    def group(self, problem: Problem, seed: int) -> Grouping:
        """Return the improved groups; random numbers: stream "plan", "local" of `seed`."""
        start = self.start.group(problem, seed)
        groups = improve(problem, start.groups, self.iterations, self.seconds, seed)
        return Grouping(groups) if set(groups) != set(start.groups) else start


def improve(
    problem: Problem,
    groups: Sequence[ChipIndices],
    iterations: int | None,
    seconds: float | None,
    seed: int,
) -> tuple[ChipIndices, ...]:
    """Return groups whose total price is not above that of `groups`."""
    search = _Search(problem, groups, generator(seed, "plan", "local"))
    moves = (search.move, search.swap, search.reform, search.reform, search.merge)
    end = math.inf if seconds is None else time.monotonic() + seconds
    for step in range(max(500, 4 * len(problem)) if iterations is None else iterations):
        if len(search.members) < 1 or time.monotonic() > end:
            break
        moves[step % len(moves)]()
    return tuple(sorted(tuple(sorted(group)) for group in search.members))


class _Search:
    """The current groups: members, fused maps [groups, words] and prices [groups]."""

    def __init__(
        self, problem: Problem, groups: Sequence[ChipIndices], rng: np.random.Generator
    ) -> None:
        self.problem, self.rng = problem, rng
        self.members = [list(group) for group in sorted(groups)]
        self.words = np.stack([problem.fuse(group) for group in self.members])
        self.prices = problem.prices(self.words)

    def move(self) -> None:
        """Move one chip to the group where it costs least, or into a group of its own."""
        a = self._random_group()
        if len(self.members[a]) == 1:
            return
        chip = self.members[a][int(self.rng.integers(len(self.members[a])))]
        rest = [i for i in self.members[a] if i != chip]
        saved = self.prices[a] - self._prices([rest])[0]
        rises = self._rises(self.problem.words[chip], 1)
        rises[a] = np.inf
        b = int(rises.argmin())
        alone = float(self.problem.single_prices[chip])
        if self._room() and alone <= rises[b] and alone < saved:
            self._replace([a], [rest, [chip]])
        elif rises[b] < saved:
            self._replace([a, b], [rest, [*self.members[b], chip]])

    def merge(self) -> None:
        """Merge one group with the group that saves most."""
        a = self._random_group()
        rises = self._rises(self.words[a], len(self.members[a]))
        rises[a] = np.inf
        b = int(rises.argmin())
        if rises[b] < self.prices[a]:
            self._replace([a, b], [self.members[a] + self.members[b]])

    def swap(self) -> None:
        """Exchange the two chips of two groups that saves most."""
        if len(self.members) < 2:
            return
        a, b = self.rng.choice(len(self.members), 2, replace=False).tolist()
        if max(len(self.members[a]), len(self.members[b])) > REFORMED:
            return
        less_a, less_b = self._without_each(self.members[a]), self._without_each(self.members[b])
        own_a, own_b = (self.problem.words[self.members[x]] for x in (a, b))
        prices = np.stack([self.problem.union_prices(row, own_b) for row in less_a])
        prices = prices + np.stack([self.problem.union_prices(row, own_a) for row in less_b]).T
        i, j = divmod(int(prices.argmin()), len(self.members[b]))
        if prices[i, j] < self.prices[a] + self.prices[b]:
            new_a, new_b = self.members[a].copy(), self.members[b].copy()
            new_a[i], new_b[j] = new_b[j], new_a[i]
            self._replace([a, b], [new_a, new_b])

    def reform(self) -> None:
        """Dissolve two to four groups and group their chips again, in random order."""
        count = min(int(self.rng.integers(2, 5)), len(self.members))
        chosen = self.rng.choice(len(self.members), count, replace=False).tolist()
        chips = np.array([i for g in chosen for i in self.members[g]])
        if not 2 <= len(chips) <= REFORMED:
            return
        spare = count + self.problem.max_groups - len(self.members)
        formed = self._form(self.rng.permutation(chips).tolist(), spare)
        if formed is not None and self._prices(formed).sum() <= self.prices[chosen].sum():
            self._replace(chosen, formed)

    def _form(self, chips: list[int], most: int) -> list[list[int]] | None:
        """Insert chips one by one where the price rises least; None if they do not fit."""
        fused = np.empty((len(chips), self.words.shape[1]), dtype=np.uint64)
        prices, formed = np.empty(len(chips)), list[list[int]]()
        for chip in chips:
            own, open_ = self.problem.words[chip], len(formed)
            unions = self.problem.union_prices(own, fused[:open_])
            full = [len(group) >= self.problem.max_members for group in formed]
            rises = np.where(full, np.inf, unions - prices[:open_])
            best = int(rises.argmin()) if open_ else 0
            single = float(self.problem.single_prices[chip])
            if open_ < most and (not open_ or single <= rises[best]):
                fused[open_], prices[open_] = own, single
                formed.append([chip])
            elif open_ and np.isfinite(rises[best]):
                fused[best] |= own
                prices[best] = unions[best]
                formed[best].append(chip)
            else:
                return None
        return formed

    def _random_group(self) -> int:
        return int(self.rng.integers(len(self.members)))

    def _room(self) -> bool:
        return len(self.members) < self.problem.max_groups

    def _prices(
        self, groups: Sequence[Sequence[int]]
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return self.problem.prices(np.stack([self.problem.fuse(group) for group in groups]))

    def _rises(self, words: Words, chips: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the rise in price of each group with a map of `chips` more members."""
        rises = self.problem.union_prices(words, self.words) - self.prices
        if self.problem.max_members == len(self.problem):
            return rises
        full = [len(group) + chips > self.problem.max_members for group in self.members]
        return np.where(full, np.inf, rises)

    def _without_each(self, group: list[int]) -> Words:
        """Fuse a group without each of its members in turn [members, words]."""
        own = self.problem.words[group]
        before, after = np.zeros_like(own), np.zeros_like(own)
        np.bitwise_or.accumulate(own[:-1], axis=0, out=before[1:])
        np.bitwise_or.accumulate(own[:0:-1], axis=0, out=after[-2::-1] if len(group) > 1 else None)
        return before | after

    def _replace(self, old: list[int], new: list[list[int]]) -> None:
        """Replace groups `old` by groups `new`, in the same rows as far as possible."""
        for row, group in zip(old, new, strict=False):
            self._put(row, group)
        for group in new[len(old) :]:
            self.members.append([])
            self.words = np.concatenate([self.words, np.zeros_like(self.words[:1])])
            self.prices = np.append(self.prices, 0.0)
            self._put(len(self.members) - 1, group)
        for row in sorted(old[len(new) :], reverse=True):  # the last group moves into the hole
            last = len(self.members) - 1
            self.members[row] = self.members[last]
            self.words[row], self.prices[row] = self.words[last], self.prices[last]
            self.members.pop()
            self.words, self.prices = self.words[:last], self.prices[:last]

    def _put(self, row: int, group: list[int]) -> None:
        self.members[row] = group
        self.words[row] = self.problem.fuse(group)
        self.prices[row] = self.problem.prices(self.words[row : row + 1])[0]
