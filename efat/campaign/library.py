"""A library of finished models and the chips that they serve; it only grows.

`efat.campaign.library_io` reads and writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from efat.campaign import job_factory
from efat.campaign.experiment import RETRAIN, Experiment
from efat.campaign.results import TrainedModel
from efat.campaign.tables import group_name
from efat.engine import content_key
from efat.hardware import Chip, Fleet
from efat.hardware.fleets import fleet_hash
from efat.planning import Assignment, LibraryModel, Plan
from efat.training import Weights


@dataclass(frozen=True)
class Entry:
    """One model.

    Args:
        model: Its name, fused map and members.
        amount_steps: Retraining amount; inf: beyond the resilience map, so the whole budget.
        weights: Where its weights are in the store; None: still to be trained.
        earlier: Weights from before it was extended, oldest first; chips may still carry them.
    """

    model: LibraryModel
    amount_steps: float
    weights: Weights | None = None
    earlier: tuple[Weights, ...] = ()

    @property
    def checkpoint(self) -> str:
        """Name of its file in the library's folder; an extended model gets a new one."""
        version = f"-{len(self.earlier) + 1}" if self.earlier else ""
        return f"models/{self.model.name}{version}.safetensors"


@dataclass(frozen=True)
class Library:
    """Models and chips of one network on one array.

    Args:
        compatibility_hash: Of everything a model depends on beside its fault map and amount.
        entries: The models, oldest first.
        chips: Every chip that was ever planned or assigned.
        unsalvageable: Names of those that no model serves, sorted.
        chip_files: Fleet files that hold the chips, relative to the folder.
        map_files: Fleet files that hold the models' fused maps.
        left_out: Names of models that serve no chip: they fail on validation, or diverged.
    """

    compatibility_hash: str
    entries: tuple[Entry, ...]
    chips: tuple[Chip, ...]
    unsalvageable: tuple[str, ...]
    chip_files: tuple[str, ...]
    map_files: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[LibraryModel, ...]:
        """The models as `efat.planning.assign` takes them."""
        return tuple(entry.model for entry in self.entries)

    def name_at(self, index: int) -> str:
        """Name the model at `index`; new names never reuse the file of a model left out."""
        if index < len(self.entries):
            return self.entries[index].model.name
        return group_name(index + len(self.left_out))


def identity(experiment: Experiment) -> str:
    """Hash everything that a model depends on beside its fault map and amount.

    That is network, training, constraint, and the recipe if it is more than retraining.
    """
    recipe = experiment.recipe
    parts = (
        job_factory.baseline_job(experiment),
        experiment.retrain_setup,
        experiment.array,
        experiment.selection.constraint,
        *((experiment.hardening,) if experiment.hardening else ()),
        *((recipe,) if recipe.steps != RETRAIN.steps or recipe.gradual else ()),
    )
    return content_key("library", parts)


def library_from_plan(
    experiment: Experiment, plan: Plan, models: Sequence[TrainedModel] = ()
) -> Library:
    """Make the library of a plan, whose maps are in the run's `fleet.npz` and `fused_maps.npz`.

    Models that fail on validation or diverged are left out.

    Args:
        experiment: What was planned.
        plan: Its groups become models.
        models: Their retrained networks, in the order of the groups; none: still to be trained.
    """
    left_out = tuple(
        group_name(i) for i, model in enumerate(models) if model.met is False or model.diverged
    )
    trained = [(model.amount_steps, model.weights) for model in models]
    amounts: Sequence[tuple[float, Weights | None]] = trained or [
        (group.amount_steps, None) for group in plan.groups
    ]
    entries = tuple(
        Entry(
            LibraryModel(group_name(i), group.fused, group.members, finished=weights is not None),
            amount_steps,
            weights,
        )
        for i, (group, (amount_steps, weights)) in enumerate(zip(plan.groups, amounts, strict=True))
        if group_name(i) not in left_out
    )
    return Library(
        identity(experiment),
        entries,
        experiment.fleet.chips,
        plan.unsalvageable,
        ("fleet.npz",),
        ("fused_maps.npz",) if entries else (),
        left_out,
    )


def grow_library(
    library: Library,
    assignment: Assignment,
    chips: Sequence[Chip],
    trained: Mapping[str, tuple[float, Weights]],
) -> Library:
    """Return the library with the outcome of an assignment; every old entry is kept.

    Args:
        library: As it was when the chips were assigned.
        assignment: Its models are those of the library, in their order, then new ones.
        chips: The chips that were assigned.
        trained: Amount (steps) and weights of each unfinished model, by the key of its fused map.
    """
    entries = []
    for index, model in enumerate(assignment.library):
        named = replace(model, name=library.name_at(index))
        old = library.entries[index] if index < len(library.entries) else None
        if old is not None and named.finished:
            entries.append(replace(old, model=named))
            continue
        amount_steps, weights = trained[named.fused.key]
        earlier = old.earlier + ((old.weights,) if old.weights else ()) if old else ()
        entries.append(Entry(replace(named, finished=True), amount_steps, weights, earlier))
    served = {placement.chip for placement in assignment.placements}
    unsalvageable = ({*library.unsalvageable} | {*assignment.unsalvageable}) - served
    grown = replace(library, entries=tuple(entries), unsalvageable=tuple(sorted(unsalvageable)))
    known = {chip.chip_id for chip in library.chips}
    new = tuple(chip for chip in chips if chip.chip_id not in known)
    return replace(
        grown,
        chips=library.chips + new,
        chip_files=library.chip_files + file_names("chips", new),
        map_files=library.map_files + file_names("maps", new_maps(library, grown)),
    )


def new_maps(before: Library, after: Library) -> tuple[Chip, ...]:
    """Return the fused maps that no file of `before` holds, named by their model."""
    known = {entry.model.fused.key for entry in before.entries}
    return tuple(
        Chip(entry.model.name, entry.model.fused)
        for entry in after.entries
        if entry.model.fused.key not in known
    )


def file_names(what: str, chips: tuple[Chip, ...]) -> tuple[str, ...]:
    """Name a file of fault maps by its content, so that no other content gets its name."""
    return (f"library/{what}-{fleet_hash(Fleet(chips))[:16]}.npz",) if chips else ()
