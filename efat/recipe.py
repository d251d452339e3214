"""What is done to a chip or a group of chips, step by step, before its model is deployed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from efat.errors import raise_problems
from efat.store import OPTIONAL

Step = Literal["remap", "compensate", "recalibrate", "retrain"]
Mode = Literal["one_shot", "sequential"]
Remap = Literal["columns", "rows_and_columns"]

STEPS: tuple[Step, ...] = get_args(Step)
"""In the only order in which they can be taken."""


@dataclass(frozen=True)
class Recipe:
    """The steps applied to a fault map's network; amount 0 of retraining is after the repair steps.

    Args:
        steps: `remap`: choose where output channels go, and inputs; `compensate`: surviving weights
            make up for the pruned ones; `recalibrate`: BatchNorm statistics under the mask;
            `retrain`: fault-aware training. See `efat.repair`.
        mode: How `compensate` works: `one_shot` from the fault-free network's Gram matrices,
            `sequential` layer by layer through the repaired network.
        samples: Training samples to calibrate on, at the most; one pass over the training split.
        remap: What `remap` chooses; with rows, the hardware must stream inputs in another order.

    Raises:
        EfatError: Unknown or repeated steps, none, another order, a mode that is not there, or too
            few samples; all at once.
    """

    steps: tuple[Step, ...] = ("retrain",)
    mode: Mode = "one_shot"
    samples: int = 1024
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
        if self.mode not in get_args(Mode):
            modes = ", ".join(get_args(Mode))
            problems.append(f"recipe.mode: {self.mode!r} given; allowed: {modes}")
        if self.remap not in get_args(Remap):
            allowed = ", ".join(get_args(Remap))
            problems.append(f"recipe.remap: {self.remap!r} given; allowed: {allowed}")
        if type(self.samples) is not int or self.samples < 1:
            problems.append(f"recipe.samples: {self.samples!r} given; an int >= 1 is needed")
        raise_problems(problems)

    @property
    def repairs(self) -> tuple[Step, ...]:
        """The steps before any retraining.

        >>> Recipe(("remap", "retrain")).repairs, Recipe().repairs
        (('remap',), ())
        """
        return tuple(step for step in self.steps if step != "retrain")

    @property
    def retrains(self) -> bool:
        """Whether what repair leaves is retrained."""
        return "retrain" in self.steps

    @property
    def needs_grams(self) -> bool:
        """Whether the Gram matrices of the fault-free network are used."""
        one_shot = "compensate" in self.steps and self.mode == "one_shot"
        return one_shot or "remap" in self.steps

    @property
    def needs_samples(self) -> bool:
        """Whether each chip's repair passes calibration samples through the network."""
        sequential = "compensate" in self.steps and self.mode == "sequential"
        return sequential or "recalibrate" in self.steps
