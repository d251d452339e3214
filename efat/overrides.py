"""The command line, composed before Hydra runs it: every bad key at once, and nothing written.

Hydra stops at the first bad override, after which its exit status is 1. Here each override is tried
by itself, so that a user sees all of them, and a run folder is made only for a good configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from hydra import compose, initialize_config_dir

# Hydra offers no public way to read its own command line; the version is pinned below 1.4.
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from efat.config import CONF, Config
from efat.errors import EfatError

FLAGS_WITHOUT_WORK = ("help", "hydra_help", "cfg", "info", "shell_completion", "version")


def compose_jobs(arguments: Sequence[str]) -> list[DictConfig]:
    """Return the configuration of every job that the command line asks for.

    Args:
        arguments: As Hydra takes them; with `-m` the jobs of the sweep (choices and ranges).

    Returns:
        One configuration a job; none for `--help`, `--cfg` and the like, which run nothing.

    Raises:
        EfatError: Every override that does not fit the schema.
    """
    flags = get_args_parser().parse_args(list(arguments))
    if any(getattr(flags, name, None) for name in FLAGS_WITHOUT_WORK):
        return []
    if flags.config_dir and not Path(flags.config_dir).is_dir():
        raise EfatError(f"command line: --config-dir {flags.config_dir} given; no such folder")
    name = flags.config_name or "config"
    extra = (
        [f"hydra.searchpath=[file://{Path(flags.config_dir).absolute()}]"]
        if flags.config_dir
        else []
    )
    folder = str(Path(flags.config_path or CONF).absolute())
    with initialize_config_dir(folder, version_base="1.3"):
        try:
            compose(name, extra)
        except Exception as error:
            raise EfatError(f"command line: {_first_line(error)}") from None
        return [_compose(name, [*extra, *job]) for job in _expand(flags.overrides, flags.multirun)]


def _expand(overrides: list[str], multirun: bool) -> Iterator[list[str]]:
    """Yield the overrides of every job."""
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise EfatError(f"command line: {_first_line(error)}") from None
    yield from map(list, product(*(_choices(override, multirun) for override in parsed)))


def _choices(override: Override, multirun: bool) -> list[str]:
    if not (multirun and override.is_sweep_override()) or not override.is_discrete_sweep():
        return [str(override.input_line)]
    key = str(override.input_line).split("=", 1)[0]
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _compose(name: str, overrides: list[str]) -> DictConfig:
    try:
        return _composed(name, overrides)
    except EfatError:
        raise
    except Exception as error:  # Hydra raises ValueError, AssertionError and more for bad overrides
        found = _diagnose(name, overrides) or [f"command line: {_first_line(error)}"]
        raise EfatError(found) from None


def _fitting(name: str, overrides: list[str]) -> DictConfig:
    """Compose, and hold the schema against keys forced in with `+` as well."""
    cfg = compose(name, overrides)
    OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.to_container(cfg))
    return cfg


def _composed(name: str, overrides: list[str]) -> DictConfig:
    cfg = _fitting(name, overrides)
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise EfatError(f"{key}: not given; set it with {key}=..." for key in sorted(missing))
    OmegaConf.resolve(cfg.copy())  # fails here rather than in the job; the job gets it unresolved
    return cfg


def _diagnose(name: str, overrides: list[str]) -> list[str]:
    """Add one override after the other, groups first; those that fail are the problems."""
    good: list[str] = []
    problems = []
    for override in sorted(overrides, key=lambda text: "." in text.split("=", 1)[0]):
        try:
            _fitting(name, [*good, override])
            good.append(override)
        except Exception as error:  # noqa: PERF203 - one at a time; see _compose
            problems.append(_explain(override, error, compose(name, good)))
    return problems


def _explain(override: str, error: Exception, cfg: DictConfig) -> str:
    """Say what was given and what is allowed."""
    key, _, value = override.lstrip("+~").partition("=")
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if isinstance(node, DictConfig) and last not in node and "Could not find" not in str(error):
        allowed = ", ".join(sorted(str(name) for name in node))
        hint = f"; write +experiment={value}" if key == "experiment" else ""
        return f"{key}: no such key ({value or 'nothing'} given); allowed here: {allowed}{hint}"
    return f"{key}: {value or 'nothing'} given; {_first_line(error)}"


def _first_line(error: Exception) -> str:
    """Fold Hydra's message, whose second part lists what is available, into one line."""
    text = str(error.__cause__ or error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    useful = [
        line for line in lines if not line.startswith(("full_key", "object_type", "Config search"))
    ]
    return "; ".join(useful[:2]) if "Could not find" not in text else " ".join(useful[:20])
