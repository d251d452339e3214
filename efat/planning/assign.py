"""New chips against models that are there or planned: who needs no retraining, who needs how much.

On a weight-stationary array a model trained for a fused map serves every chip whose map it covers,
bit for bit (METHOD fact 2b).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from efat.errors import raise_problems
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
        finished: Trained already; a planned one may still take in chips for the difference in
            price.
    """

    name: str
    fused: FaultMap
    members: tuple[str, ...]
    finished: bool = True


@dataclass(frozen=True)
class ChipAssignment:
    """Where one chip went.

    Args:
        chip: Its name.
        model: Name of the model that serves it.
        how: `covered`: no retraining; `joined`: a planned model grew; `extended`: a finished model
            is trained again, for its map and the chip's; `alone`: a new model for its own map.
        price: What that adds to the price, in price units.
    """

    chip: str
    model: str
    how: How
    price: float


@dataclass(frozen=True)
class Assignment:
    """Outcome of `assign`.

    Args:
        library: The models, old ones first; none is ever taken away, and no map shrinks. Those that
            are not finished have to be trained, for their fused map as it is here.
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
    """Return the models of a plan, retrained already (`finished`) or still to be."""
    return tuple(LibraryModel(g.members[0], g.fused, g.members, finished) for g in plan.groups)


def assign(
    chips: Sequence[Chip], library: Sequence[LibraryModel], cost: Cost, rules: Rules = NO_RULES
) -> Assignment:
    """Place new chips: covered ones at no price, each other where it adds least to the price.

    A chip goes to the covering model of the fewest faults. Else the cheapest of: letting a planned
    model grow (one opened by an earlier chip of this call too), standing alone, training a finished
    model again for its map and the chip's. By monotone cost the last is never cheaper than standing
    alone; it is taken where `rules.max_groups` leaves no room. Chips are placed dearest first, so
    that the cheap ones find models. The order of `chips` does not matter, and placing them again
    changes nothing.

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
    shelf = _ModelPool(problem, rules, list(library))
    order = np.lexsort((np.arange(len(problem)), -problem.single_prices)).tolist()
    placements = [shelf.place(by_name[problem.names[i]]) for i in order]
    lost = [name for name in problem.unsalvageable if shelf.covering(by_name[name]) is None]
    placements += [
        shelf.place(by_name[name]) for name in problem.unsalvageable if name not in set(lost)
    ]
    return Assignment(
        tuple(shelf.models), tuple(sorted(placements, key=lambda p: p.chip)), tuple(lost)
    )


class _ModelPool:
    """The library while chips are placed: models beside their packed maps [models, words]."""

    def __init__(self, problem: Problem, rules: Rules, models: list[LibraryModel]) -> None:
        self.problem, self.rules, self.models = problem, rules, models
        width = problem.words.shape[1]
        maps = [model.fused.words for model in models]
        self.words = np.stack(maps) if maps else np.empty((0, width), dtype=np.uint64)

    def place(self, chip: Chip) -> ChipAssignment:
        """Place one chip and return where."""
        row = self.covering(chip)
        if row is not None:
            members = {*self.models[row].members, chip.chip_id}
            self.models[row] = replace(self.models[row], members=tuple(sorted(members)))
            return ChipAssignment(chip.chip_id, self.models[row].name, "covered", 0.0)
        price, how, row = min(self._options(chip), key=lambda option: option[0])
        if math.isinf(price):
            raise_problems(
                [
                    f"rules.max_groups: {self.rules.max_groups} given; chip {chip.chip_id!r} fits "
                    "no model and none may be added; raise it"
                ]
            )
        name = self._grow(row, chip) if row is not None else self._add(chip)
        return ChipAssignment(chip.chip_id, name, how, price)

    def covering(self, chip: Chip) -> int | None:
        """Return the covering model that may take `chip`: its own, else of the fewest faults."""
        own = chip.fault_map.words
        covers = np.flatnonzero(~np.any(own & ~self.words, axis=1)).tolist()
        rows = [r for r in covers if self._takes(r, chip)]

        def rank(row: int) -> tuple[bool, int, int]:
            model = self.models[row]
            return chip.chip_id not in model.members, model.fused.fault_count, row

        return min(rows, key=rank, default=None)

    def _options(self, chip: Chip) -> list[tuple[float, How, int | None]]:
        """Return (added price, how, model) of each way to serve a chip that no model covers."""
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
        """Return whether the rules let a chip share this model (it may well be its own)."""
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
        """Open a model for one chip; a chip that is back with more faults gets a numbered name."""
        taken = {model.name for model in self.models}
        name, again = chip.chip_id, 2
        while name in taken:
            name, again = f"{chip.chip_id}#{again}", again + 1
        self.models.append(LibraryModel(name, chip.fault_map, (chip.chip_id,), finished=False))
        self.words = np.vstack([self.words, chip.fault_map.words])
        return name
