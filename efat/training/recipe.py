"""What is done to a chip or a group of chips, step by step, before its model is deployed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from efat.engine import OPTIONAL
from efat.errors import EfatError, raise_problems

Step = Literal["harden", "remap", "compensate", "recalibrate", "retrain", "top_up"]
Mode = Literal["one_shot", "sequential", "auto"]
Remap = Literal["columns", "rows_and_columns"]
Inject = Literal["at_once", "gradual"]

STEPS: tuple[Step, ...] = get_args(Step)
"""In the only order in which they can be taken."""

SEQUENTIAL_FROM = 0.2
"""Share of faulty PEs, to the whole percent, from which `auto` is sequential. On the published
ResNet-20 that is as good at 20 % and better from 30 % on (experiments/repair)."""

TRAINING = ("harden", "retrain", "top_up")
"""Those that are no repair of a masked network."""


@dataclass(frozen=True)
class Gradual:
    """Faults enter a retraining in `parts`, one every so many epochs (`efat.training.injection`).

    Raises:
        EfatError: Values out of range; all at once.
    """

    parts: int = 4
    every_epochs: float = 0.25

    def __post_init__(self) -> None:
        problems = []
        if type(self.parts) is not int or self.parts < 2:
            problems.append(f"recipe.inject_parts: {self.parts!r} given; an int >= 2 is needed")
        if not 0 < self.every_epochs < float("inf"):
            problems.append(
                f"recipe.inject_every_epochs: {self.every_epochs!r} given; a number > 0 is needed"
            )
        raise_problems(problems)

    @classmethod
    def of(cls, inject: str, parts: int, every_epochs: float) -> Gradual | None:
        """Return how faults come in; None: all at once.

        Raises:
            EfatError: Neither `at_once` nor `gradual`, or values out of range.
        """
        if inject not in get_args(Inject):
            allowed = ", ".join(get_args(Inject))
            raise EfatError(f"recipe.inject: {inject!r} given; allowed: {allowed}")
        given = cls(parts, every_epochs)  # refused where they are not used, too
        return given if inject == "gradual" else None


@dataclass(frozen=True)
class Recipe:
    """The steps applied to a fault map's network; amount 0 of retraining is after the repair steps.

    Args:
        steps: `harden`: train the network once to stand faults (`efat.training.hardening`);
            `remap`: choose where output channels go, and inputs; `compensate`: surviving weights
            make up for the pruned ones; `recalibrate`: BatchNorm statistics under the mask;
            `retrain`: fault-aware training; `top_up`: where that leaves a group short of the
            constraint on validation, on in evaluation intervals. See `efat.nn.repair`.
        mode: How `compensate` works: `one_shot` from the fault-free network's Gram matrices,
            `sequential` layer by layer through the repaired network; `auto`: sequential for maps
            with 20 % faulty PEs and more (to the whole percent), one-shot for others.
        samples: Training samples to calibrate on, at the most; one pass over the training split.
        gradual: How faults come into the retraining; None: all at once.
        remap: What `remap` chooses; with rows, the hardware must stream inputs in another order.

    Raises:
        EfatError: Unknown or repeated steps, none, another order, a mode that is not there, or too
            few samples; all at once.
    """

    steps: tuple[Step, ...] = ("retrain",)
    mode: Mode = "one_shot"
    samples: int = 1024
    gradual: Gradual | None = field(default=None, metadata=OPTIONAL)
    remap: Remap = field(default="columns", metadata=OPTIONAL)

    def __post_init__(self) -> None:
        given, allowed = list(self.steps), ", ".join(STEPS)
        problems = [
            f"recipe.steps: {step!r} given; allowed: {allowed}"
            for step in given
            if step not in STEPS
        ]
        if not given:
            problems.append(f"recipe.steps: [] given; at least one of {allowed} is needed")
        elif not problems and given != [step for step in STEPS if step in given]:
            problems.append(
                f"recipe.steps: {given} given; each step once, in this order: {allowed}"
            )
        if "top_up" in given and "retrain" not in given:
            problems.append(
                f"recipe.steps: {given} given; top_up goes on with a training, so it needs retrain "
                "before it"
            )
        if self.gradual and (self.repairs or not self.retrains):
            problems.append(
                f"recipe.inject: gradual given, but recipe.steps={given}; only retraining that no "
                "repair comes before has faults left to inject: use steps=[retrain], or at_once"
            )
        if self.mode not in get_args(Mode):
            modes = ", ".join(get_args(Mode))
            problems.append(f"recipe.mode: {self.mode!r} given; allowed: {modes}")
        if self.remap not in get_args(Remap):
            allowed = ", ".join(get_args(Remap))
            problems.append(f"recipe.remap: {self.remap!r} given; allowed: {allowed}")
        if type(self.samples) is not int or self.samples < 1:
            problems.append(f"recipe.samples: {self.samples!r} given; an int >= 1 is needed")
        raise_problems(problems)

    def settled(self, fault_rate: float) -> Recipe:
        """Return the recipe with the mode that `auto` means for a map of this fault rate.

        >>> Recipe(("compensate",), "auto").settled(0.3).mode
        'sequential'
        """
        if self.mode != "auto":
            return self
        many = round(fault_rate, 2) >= SEQUENTIAL_FROM  # a rate is drawn in whole PEs
        sequential = many and "compensate" in self.steps
        return replace(self, mode="sequential" if sequential else "one_shot")

    def without(self, steps: Collection[str]) -> Recipe:
        """Return the recipe less these steps; where none is left, retraining for no amount.

        >>> Recipe(("remap", "compensate", "retrain")).without(["remap"]).steps
        ('compensate', 'retrain')
        """
        left: tuple[Step, ...] = tuple(step for step in self.steps if step not in steps)
        remap = self.remap if "remap" in left else "columns"  # what nothing asks for is no key
        return replace(self, steps=left or ("retrain",), remap=remap)

    @property
    def repairs(self) -> tuple[Step, ...]:
        """The steps that mend a masked network, before any retraining.

        >>> Recipe(("remap", "retrain")).repairs, Recipe().repairs
        (('remap',), ())
        """
        return tuple(step for step in self.steps if step not in TRAINING)

    @property
    def retrains(self) -> bool:
        """Whether what repair leaves is retrained."""
        return "retrain" in self.steps

    @property
    def hardens(self) -> bool:
        """Whether the network is first trained to stand faults."""
        return "harden" in self.steps

    @property
    def tops_up(self) -> bool:
        """Whether a group that is short after its amount is trained on."""
        return "top_up" in self.steps

    @property
    def needs_grams(self) -> bool:
        """Whether the Gram matrices of the fault-free network are used."""
        one_shot = "compensate" in self.steps and self.mode != "sequential"
        return one_shot or "remap" in self.steps

    @property
    def needs_samples(self) -> bool:
        """Whether each chip's repair passes calibration samples through the network."""
        sequential = "compensate" in self.steps and self.mode != "one_shot"
        return sequential or "recalibrate" in self.steps
