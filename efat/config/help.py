"""List groups with their options, and stages, for `--help`."""

from __future__ import annotations

import textwrap
from pathlib import Path

from omegaconf import OmegaConf

from efat.config.schema import CONF, STAGES

WIDTH = 100
INDENT = 13
SETS = {
    "experiment": "a whole experiment; the only group that is added with +",
    "model": "the network (yours by model._target_)",
    "data": "the data set (yours by data._target_)",
    "task": "the loss, and the metric that the constraint is about",
    "array": "size of the accelerator's array, how layers are mapped to it",
    "fleet": "the chips and their fault maps",
    "fault_rates": "the grid of the resilience analysis",
    "baseline": "how the fault-free network is trained",
    "training": "how a masked network is retrained",
    "recipe": "steps for a chip or group: repair in closed form, then retraining",
    "hardening": "how a recipe with harden trains the network to withstand faults",
    "selection": "the constraint, and how curves become amounts",
    "planner": "which chips share a retraining",
    "rules": "limits and prices of a plan",
    "trainer": "where and how Lightning trains",
    "executor": "where the trainings run",
    "tracking": "an experiment tracker",
}


def list_stages() -> str:
    """Return one line per stage: its name and what it does."""
    return "\n".join(f"  {name:<{INDENT}} {words}" for name, words in STAGES.items())


def list_groups() -> str:
    """Return one paragraph per group, at most 100 columns wide: its options and what they set."""
    folders = sorted({path.parent for path in CONF.rglob("*/*.yaml")})
    names = {path.relative_to(CONF).as_posix(): path for path in folders}
    first = [name for name in SETS if name in names]
    return "\n".join(_paragraph(name, names[name]) for name in dict.fromkeys([*first, *names]))


def options_of(folder: Path) -> list[str]:
    """Return the options of a group; files that begin with `_` are shared parts of others."""
    return sorted(path.stem for path in folder.glob("[!_]*.yaml"))


def _paragraph(name: str, folder: Path) -> str:
    head = f"{name:<{INDENT - 1}} {SETS.get(name, '')}".rstrip()
    indent = INDENT * " "
    return f"{head}\n" + textwrap.fill(
        " ".join(options_of(folder)),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


OmegaConf.register_new_resolver("efat_groups", list_groups, replace=True)
OmegaConf.register_new_resolver("efat_stages", list_stages, replace=True)
