"""Recipes: the steps applied to a chip or a group of chips before its model is deployed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import field, replace
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import Field

from efat.engine import OPTIONAL
from efat.errors import EfatError, checked

Step = Literal["harden", "remap", "compensate", "recalibrate", "retrain", "top_up"]
Mode = Literal["one_shot", "sequential", "auto"]
Remap = Literal["columns", "rows_and_columns"]
Inject = Literal["at_once", "gradual"]


class StepInfo(NamedTuple):
    """A step of a recipe; `repairs`: it changes a masked network without training."""

    description: str
    repairs: bool


STEPS: dict[Step, StepInfo] = {
    "harden": StepInfo("train the network once to tolerate faults", repairs=False),
    "remap": StepInfo("choose columns of output channels, and rows of inputs", repairs=True),
    "compensate": StepInfo("correct surviving weights for the pruned ones", repairs=True),
    "recalibrate": StepInfo("re-estimate BatchNorm statistics under the mask", repairs=True),
    "retrain": StepInfo("train the masked network", repairs=False),
    "top_up": StepInfo("train groups that miss the constraint for longer", repairs=False),
}
"""In the only order in which they can be taken."""

REPAIR_STEPS = tuple(step for step, info in STEPS.items() if info.repairs)

SEQUENTIAL_FROM = 0.2
"""Share of faulty PEs, to the whole percent, from which `auto` is sequential. On the published
ResNet-20 that is as good at 20 % and better from 30 % on (experiments/repair)."""


@checked("recipe")
class Gradual:
    """Faults enter a retraining in parts, one every so many epochs (`efat.training.injection`).

    Raises:
        EfatError: Values out of range; all at once.
    """

    inject_parts: Annotated[int, Field(ge=2, strict=True)] = 4
    inject_every_epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.25

    @classmethod
    def of(cls, inject: str, parts: int, every_epochs: float) -> Gradual | None:
        """Return how faults enter a retraining; None: all at once.

        Raises:
            EfatError: Neither `at_once` nor `gradual`, or values out of range.
        """
        if inject not in get_args(Inject):
            allowed = ", ".join(get_args(Inject))
            raise EfatError(f"recipe.inject: {inject!r} given; allowed: {allowed}")
        gradual = cls(parts, every_epochs)  # checked even if it is not used
        return gradual if inject == "gradual" else None


@checked("recipe")
class Recipe:
    """The steps applied to a fault map's network; amount 0 of retraining is after the repair steps.

    Args:
        steps: In the order of `STEPS`. `harden` see `efat.training.hardening`; `remap`,
            `compensate`, `recalibrate` see `efat.nn.repair`; `top_up` goes on with the training of
            a group that misses the constraint on validation, in evaluation intervals.
        mode: How `compensate` works: `one_shot` from the fault-free network's Gram matrices,
            `sequential` layer by layer through the repaired network; `auto`: sequential for fault
            maps with 20 % faulty PEs and more (to the whole percent), one-shot for others.
        samples: Training samples to calibrate on, at the most; one pass over the training split.
        gradual: How faults enter the retraining; None: all at once.
        remap: Whether `remap` chooses rows, too; then the hardware must stream inputs in another
            order.

    Raises:
        EfatError: All wrong values at once; then all rules between them that are broken.
    """

    steps: tuple[Step, ...] = ("retrain",)
    mode: Mode = "one_shot"
    samples: Annotated[int, Field(ge=1, strict=True)] = 1024
    gradual: Gradual | None = field(default=None, metadata=OPTIONAL)
    remap: Remap = field(default="columns", metadata=OPTIONAL)

    def problems(self) -> Iterator[str]:
        """Check the order of the steps, and what needs what."""
        steps, allowed = list(self.steps), ", ".join(STEPS)
        if not steps:
            yield f"recipe.steps: [] given; at least one of {allowed} is needed"
        elif steps != [step for step in STEPS if step in steps]:
            yield f"recipe.steps: {steps} given; each step once, in this order: {allowed}"
        if self.tops_up and not self.retrains:
            yield (
                f"recipe.steps: {steps} given; top_up goes on with a training, so it needs retrain "
                "before it"
            )
        if self.gradual and (self.repairs or not self.retrains):
            yield (
                f"recipe.inject: gradual given, but recipe.steps={steps}; only retraining that no "
                "repair comes before has faults left to inject: use steps=[retrain], or at_once"
            )

    def settled(self, fault_rate: float) -> Recipe:
        """Return the recipe with the mode that `auto` means for a fault map of this rate.

        >>> Recipe(("compensate",), "auto").settled(0.3).mode
        'sequential'
        """
        if self.mode != "auto":
            return self
        many = round(fault_rate, 2) >= SEQUENTIAL_FROM  # rates are of whole PEs
        sequential = many and "compensate" in self.steps
        return replace(self, mode="sequential" if sequential else "one_shot")

    def without(self, steps: Collection[str]) -> Recipe:
        """Return the recipe less these steps; if none remains, retraining for no amount.

        >>> Recipe(("remap", "compensate", "retrain")).without(["remap"]).steps
        ('compensate', 'retrain')
        """
        remaining: tuple[Step, ...] = tuple(step for step in self.steps if step not in steps)
        remap = self.remap if "remap" in remaining else "columns"  # unused: must not change the key
        return replace(self, steps=remaining or ("retrain",), remap=remap)

    @property
    def repairs(self) -> tuple[Step, ...]:
        """The steps that repair a masked network, before any retraining.

        >>> Recipe(("remap", "retrain")).repairs, Recipe().repairs
        (('remap',), ())
        """
        return tuple(step for step in self.steps if step in REPAIR_STEPS)

    @property
    def retrains(self) -> bool:
        """True if the masked, perhaps repaired network is retrained."""
        return "retrain" in self.steps

    @property
    def hardens(self) -> bool:
        """True if the network is first trained to tolerate faults."""
        return "harden" in self.steps

    @property
    def tops_up(self) -> bool:
        """True if a group that misses the constraint after its amount is trained on."""
        return "top_up" in self.steps

    @property
    def needs_grams(self) -> bool:
        """True if the Gram matrices of the fault-free network are used."""
        one_shot = "compensate" in self.steps and self.mode != "sequential"
        return one_shot or "remap" in self.steps

    @property
    def needs_samples(self) -> bool:
        """True if each chip's repair passes calibration samples through the network."""
        sequential = "compensate" in self.steps and self.mode != "one_shot"
        return sequential or "recalibrate" in self.steps
