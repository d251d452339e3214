"""Compose the command line before Hydra runs it: every bad key at once, and nothing written.

Hydra stops at the first bad override, after which its exit status is 1. Here the jobs are composed
from what fits, so that a run folder is made only for a good configuration.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from hydra import compose, initialize_config_dir

# Hydra offers no public way to read its own command line; the version is pinned below 1.4.
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from efat.config.override_errors import PrimaryError, find_override_errors, key_of, not_given
from efat.config.schema import CONF
from efat.errors import EfatError, raise_problems

FLAGS_WITHOUT_WORK = ("help", "hydra_help", "cfg", "info", "shell_completion", "version")
ONE_OF = ("run", "multirun", "cfg", "info", "shell_completion")

COMPARED = "_compared"
"""Key for the composed planners that `compare` names; only in memory."""

JOBS_SHOWN = 5
"""Jobs of a sweep that a problem names one by one."""


@dataclass(frozen=True)
class ComposedJob:
    """One job as far as the command line makes sense.

    Args:
        cfg: Composed from the overrides that fit; values that are not given are missing in it.
        choices: The overrides that tell this job from others of a sweep.
        problems: Why the other overrides do not fit.
        invalid_keys: Their keys, for which `cfg` has the value that it has without them.
    """

    cfg: DictConfig
    choices: tuple[str, ...]
    problems: tuple[str, ...]
    invalid_keys: tuple[str, ...]


def compose_jobs(arguments: Sequence[str]) -> list[DictConfig]:
    """Return the configuration of every job that the command line asks for.

    Args:
        arguments: As Hydra takes them; with `-m` the jobs of the sweep (choices and ranges).

    Returns:
        One configuration per job; none for `--help`, `--cfg` and the like, which run nothing.

    Raises:
        EfatError: Every override that does not fit the schema.
    """
    jobs = compose_sweep(arguments)
    raise_problems(dict.fromkeys(problem for job in jobs for problem in job.problems))
    return [job.cfg for job in jobs]


def compose_sweep(arguments: Sequence[str]) -> list[ComposedJob]:
    """Compose as `compose_jobs`, with the problems of each job beside it.

    Raises:
        EfatError: No primary config to start from.
    """
    flags, problems = _read_flags(list(arguments))
    idle = any(getattr(flags, name, None) for name in FLAGS_WITHOUT_WORK)
    if flags.shell_completion or (idle and not flags.overrides):  # install=bash is no key of efat's
        raise_problems(problems)
        return []
    name = flags.config_name or "config"
    folder = Path(flags.config_path or CONF).absolute()
    if not folder.is_dir():
        raise EfatError([*problems, f"command line: --config-path {folder} given; no such folder"])
    with hydra_started(folder):
        if flags.config_dir:
            _search_in(Path(flags.config_dir))
        overrides = [o for text in flags.overrides for o in _parse(text, problems)]
        try:
            jobs = _compose_all(name, overrides, flags.multirun, problems)
        except PrimaryError as error:
            exists = folder.joinpath(name).with_suffix(".yaml").is_file()
            why = str(error) if exists else f"no {name}.yaml in {folder}"
            reason = f"command line: --config-name {name} given; {why}"
            raise EfatError([*problems, reason]) from None
        if not idle:
            return jobs
        for job in jobs:  # Hydra shows values that are missing, and stops at others
            missing = map(not_given, map(str, OmegaConf.missing_keys(job.cfg)))
            raise_problems(set(job.problems).difference(missing))
        return []


@contextlib.contextmanager
def hydra_started(folder: Path) -> Iterator[None]:
    """Start Hydra on a folder of YAML files; a Hydra that runs already is put back afterwards."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running


def _search_in(folder: Path) -> None:
    """Let the open composition search in one more folder, where `hydra.main` does too."""
    search_path = GlobalHydra.instance().config_loader().get_search_path()
    search_path.prepend(
        "command-line", f"file://{folder.absolute()}", SearchPathQuery(provider="schema")
    )
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2("efat", search_path)


def _read_flags(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options (`-m`, `--cfg`, ...), and the problems with them."""
    parser = get_args_parser()
    parser.exit_on_error = False
    problems = []
    try:
        flags, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        problems.append(f"command line: {error.argument_name} given; {error.message}")
        flags, unknown = parser.parse_known_args([a for a in arguments if not a.startswith("-")])
    for text in unknown:
        if text.startswith("-"):
            problems.append(
                f"command line: {text} given; no such option; `python -m efat.run --hydra-help` "
                "lists all"
            )
        else:
            flags.overrides.append(text)
            problems.append(f"command line: {text} given after an option; put options first")
    if sum(bool(getattr(flags, name)) for name in ONE_OF) > 1:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in ONE_OF)
        problems.append(f"command line: more than one of {options} given; use one")
    if flags.experimental_rerun:
        problems.append(
            "command line: --experimental-rerun given; it would unpickle a file; give the "
            "overrides again instead: finished work is in the store"
        )
    if flags.config_dir and not Path(flags.config_dir).is_dir():
        problems.append(f"command line: --config-dir {flags.config_dir} given; no such folder")
        flags.config_dir = None
    return flags, problems


def _parse(text: str, problems: list[str]) -> Iterator[Override]:
    """Parse one override; note a problem if that fails."""
    try:
        yield from OverridesParser.create().parse_overrides([text])
    except HydraException:
        problems.append(f"command line: {text!r} given; key=value is needed")


def _compose_all(
    name: str, overrides: list[Override], multirun: bool, problems: list[str]
) -> list[ComposedJob]:
    """Compose the jobs one after the other; an invalid override of one is suspect in the next."""
    choices = [_choices(override, multirun) for override in overrides]
    jobs = []
    suspects: dict[str, None] = {}
    for chosen in product(*choices):
        cfg, errors = find_override_errors(name, chosen, tuple(suspects))
        suspects |= dict.fromkeys(errors)
        missing = {
            key: not_given(key)
            for key in sorted(OmegaConf.missing_keys(cfg))
            if key not in map(key_of, errors)
        }
        unknown = unknown_planners(cfg)
        with open_dict(cfg):
            cfg[COMPARED] = {} if unknown else planner_options(cfg)
        jobs.append(
            ComposedJob(
                cfg,
                tuple(o for o, among in zip(chosen, choices, strict=True) if len(among) > 1),
                (*problems, *errors.values(), *missing.values(), *unknown),
                (*map(key_of, errors), *missing, *(["compare"] if unknown else [])),
            )
        )
    return jobs


def unknown_planners(cfg: DictConfig) -> list[str]:
    """Return the problems with the names in `compare`: each is an option of `planner`, or none."""
    allowed = ["none", *GlobalHydra.instance().config_loader().get_group_options("planner")]
    return [
        f"compare: {name!r} given; allowed: {', '.join(allowed)}"
        for name in cfg.compare
        if name not in allowed
    ]


def planner_options(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return the options of `planner` that `compare` names, composed, without `none`.

    A configuration of `compose_sweep` has them already; one that Hydra composed, inside its job,
    gets them from the folders where Hydra searches.
    """
    if COMPARED in cfg:
        return dict(cfg[COMPARED])
    names = [name for name in dict.fromkeys(cfg.compare) if name != "none"]
    nodes = compose(overrides=[f"+planner@{name}={name}" for name in names])
    with open_dict(cfg):  # beside what the options refer to
        cfg[COMPARED] = nodes
    return dict(cfg[COMPARED])


def _choices(override: Override, multirun: bool) -> list[str]:
    if not (multirun and override.is_sweep_override()) or not override.is_discrete_sweep():
        return [str(override.input_line)]
    key = str(override.input_line).split("=", 1)[0]
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def label_problems(jobs: Sequence[ComposedJob], problems: Sequence[Sequence[str]]) -> list[str]:
    """Return the problems of all jobs, each once, with the jobs that have it unless all do.

    Args:
        jobs: The jobs of a command.
        problems: Those of each job.
    """
    numbers: dict[str, list[int]] = {}
    for number, texts in enumerate(problems):
        for text in dict.fromkeys(texts):
            numbers.setdefault(text, []).append(number)
    choices = [job.choices for job in jobs]
    return [text + _where(having, choices) for text, having in numbers.items()]


def _where(numbers: Sequence[int], choices: Sequence[tuple[str, ...]]) -> str:
    """Name jobs by the choices that only they share, or one by one."""
    if len(numbers) == len(choices):
        return ""
    shared = set.intersection(*(set(choices[number]) for number in numbers))
    if [n for n, chosen in enumerate(choices) if shared <= set(chosen)] == list(numbers):
        return f" [jobs with {' '.join(sorted(shared))}]"
    named = "; ".join(" ".join(choices[number]) for number in numbers[:JOBS_SHOWN])
    more = f"; and {len(numbers) - JOBS_SHOWN} more" if len(numbers) > JOBS_SHOWN else ""
    return f" [jobs {named}{more}]"
