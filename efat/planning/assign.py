"""Assign new chips to trained or planned models, and open models for the others.

On a weight-stationary array a model trained for a fused map serves every chip whose map it covers,
bit for bit (METHOD fact 2b).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from efat.errors import EfatError, raise_problems
from efat.hardware import Chip, FaultMap
from efat.planning.cost import Cost
from efat.planning.plan import Plan
from efat.planning.problem import Problem, prepare
from efat.planning.rules import NO_RULES, Rules

How = Literal["covered", "joined", "extended", "alone"]


@dataclass(frozen=True)
class LibraryModel:
    """One model of the library: a group of a plan, or one that chips were assigned to.

    Args:
        name: The chip that it was first made for.
        fused: The map that it is trained for.
        members: Chips that it serves, sorted.
        finished: Whether it is trained; a planned model may still take chips, for the difference
            in price.
    """

    name: str
    fused: FaultMap
    members: tuple[str, ...]
    finished: bool = True


@dataclass(frozen=True)
class ChipAssignment:
    """The model that serves one chip, and what that adds to the price.

    Args:
        chip: Its name.
        model: Name of the model that serves it.
        how: `covered`: no retraining; `joined`: a planned model grew; `extended`: a finished model
            is trained again, for its map and the chip's; `alone`: a new model for its own map.
        price: Added price, in price units.
    """

    chip: str
    model: str
    how: How
    price: float


@dataclass(frozen=True)
class Assignment:
    """Result of `assign`.

    Args:
        library: The models, old ones first; no model is removed, and no map shrinks. Models that
            are not finished have to be trained for their fused map.
        placements: One for each salvageable chip, by name.
        unsalvageable: Chips beyond the resilience map that no model covers, sorted.
    """

    library: tuple[LibraryModel, ...]
    placements: tuple[ChipAssignment, ...]
    unsalvageable: tuple[str, ...]

    @property
    def price(self) -> float:
        """Price of the retraining that the new chips call for, in price units."""
        return sum(placement.price for placement in self.placements)


def plan_library(plan: Plan, finished: bool) -> tuple[LibraryModel, ...]:
    """Return the models of a plan, either all trained (`finished`) or all to be trained."""
    return tuple(LibraryModel(g.members[0], g.fused, g.members, finished) for g in plan.groups)


def assign(
    chips: Sequence[Chip], library: Sequence[LibraryModel], cost: Cost, rules: Rules = NO_RULES
) -> Assignment:
    """Place new chips: covered ones at no price, every other where it adds least to the price.

    A chip goes to the covering model of the fewest faults. If no model covers it, the cheapest of
    these is taken: a planned model grows (also one opened by an earlier chip of this call); the
    chip gets a model of its own; a finished model is trained again for its map and the chip's. By
    monotone cost the last is never cheaper than a model of its own; it is taken where
    `rules.max_groups` leaves no room. The most expensive chips are placed first, so that models are
    open for the cheap ones. The order of `chips` does not matter, and placing them again changes
    nothing.

    Raises:
        EfatError: Bad chips, cost or rules; models of another array; no room for a chip.
    """
    problem = prepare(chips, cost, replace(rules, max_groups=None, max_members=None, alone=()))
    by_name = {chip.chip_id: chip for chip in chips}
    raise_problems(
        f"library: model {model.name!r} is for an array of {model.fused.rows}x{model.fused.cols} "
        f"PEs, the chips have {problem.shape[0]}x{problem.shape[1]}; use chips of one array"
        for model in library
        if model.fused.shape != problem.shape
    )
    pool = _ModelPool(problem, rules, list(library))
    order = np.lexsort((np.arange(len(problem)), -problem.single_prices)).tolist()
    placements = [pool.place(by_name[problem.names[i]]) for i in order]
    covered = [n for n in problem.unsalvageable if pool.covering(by_name[n]) is not None]
    placements += [pool.place(by_name[name]) for name in covered]
    unsalvageable = tuple(name for name in problem.unsalvageable if name not in covered)
    return Assignment(
        tuple(pool.models), tuple(sorted(placements, key=lambda p: p.chip)), unsalvageable
    )


class _ModelPool:
    """The library while chips are placed: models beside their packed maps [models, words]."""

    def __init__(self, problem: Problem, rules: Rules, models: list[LibraryModel]) -> None:
        self.problem, self.rules, self.models = problem, rules, models
        width = problem.words.shape[1]
        maps = [model.fused.words for model in models]
        self.words = np.stack(maps) if maps else np.empty((0, width), dtype=np.uint64)

    def place(self, chip: Chip) -> ChipAssignment:
        """Place one chip and return its assignment."""
        row = self.covering(chip)
        if row is not None:
            members = {*self.models[row].members, chip.chip_id}
            self.models[row] = replace(self.models[row], members=tuple(sorted(members)))
            return ChipAssignment(chip.chip_id, self.models[row].name, "covered", 0.0)
        price, how, row = min(self._options(chip), key=lambda option: option[0])
        if math.isinf(price):
            raise EfatError(
                f"rules.max_groups: {self.rules.max_groups} given; chip {chip.chip_id!r} fits "
                "no model and none may be added; raise it"
            )
        name = self._grow(row, chip) if row is not None else self._add(chip)
        return ChipAssignment(chip.chip_id, name, how, price)

    def covering(self, chip: Chip) -> int | None:
        """Return the row of the covering model that may take `chip`: its own, or the smallest."""
        own = chip.fault_map.words
        covers = np.flatnonzero(~np.any(own & ~self.words, axis=1)).tolist()
        rows = [r for r in covers if self._takes(r, chip)]

        def rank(row: int) -> tuple[bool, int, int]:
            model = self.models[row]
            return chip.chip_id not in model.members, model.fused.fault_count, row

        return min(rows, key=rank, default=None)

    def _options(self, chip: Chip) -> list[tuple[float, How, int | None]]:
        """Return (added price, how, row) of each way to serve a chip that no model covers."""
        alone = self.rules.price(float(self.problem.cost(chip.fault_map)))
        limit = self.rules.max_groups
        room = limit is None or len(self.models) < limit
        options: list[tuple[float, How, int | None]] = [
            (alone if room else math.inf, "alone", None)
        ]
        if not self.models:
            return options
        unions = self.problem.union_prices(chip.fault_map.words, self.words).tolist()
        own = self.problem.prices(self.words).tolist()
        for row, model in enumerate(self.models):
            if self._takes(row, chip) and unions[row] < math.inf:
                if model.finished:
                    options.append((unions[row], "extended", row))
                else:
                    options.append((unions[row] - own[row], "joined", row))
        return options

    def _takes(self, row: int, chip: Chip) -> bool:
        """Return whether the rules let a chip share this model, which may be its own."""
        members = set(self.models[row].members)
        if members <= {chip.chip_id}:
            return True
        kept_apart = {chip.chip_id, *members} & set(self.rules.alone)
        limit = self.rules.max_members
        full = limit is not None and len(members | {chip.chip_id}) > limit
        return not kept_apart and not full

    def _grow(self, row: int, chip: Chip) -> str:
        """Fuse a chip into a model, which then has to be trained (again)."""
        model = self.models[row]
        members = tuple(sorted({*model.members, chip.chip_id}))
        fused = model.fused | chip.fault_map
        self.models[row] = LibraryModel(model.name, fused, members, finished=False)
        self.words[row] = fused.words
        return model.name

    def _add(self, chip: Chip) -> str:
        """Open a model for one chip; a chip that returns with more faults gets a numbered name."""
        taken = {model.name for model in self.models}
        name, again = chip.chip_id, 2
        while name in taken:
            name, again = f"{chip.chip_id}#{again}", again + 1
        self.models.append(LibraryModel(name, chip.fault_map, (chip.chip_id,), finished=False))
        self.words = np.vstack([self.words, chip.fault_map.words])
        return name
