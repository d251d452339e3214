"""Find all invalid overrides and explain each in one line.

Hydra stops at the first. This module tries each override on top of those that fit: a user sees all
of them, and the others still make a configuration whose values can be checked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationResolutionError

from efat.config.schema import Config

OverrideErrors = dict[str, str]
"""Problem by override."""

KINDS = {"Integer": "an int", "Float": "a number", "Boolean": "true or false", "String": "text"}


class PrimaryError(Exception):
    """The primary config does not compose even without overrides."""


def compose_strict(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose; check keys forced in with `+` against the schema, and resolve interpolations.

    Raises:
        Exception: Hydra's and OmegaConf's, of many types, and `RecursionError`.
    """
    cfg = compose(name, list(overrides))
    OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.to_container(cfg))
    OmegaConf.resolve(cfg.copy())  # fails now rather than in the job, which gets it unresolved
    return cfg


def find_override_errors(
    name: str, overrides: Sequence[str], suspects: Sequence[str] = ()
) -> tuple[DictConfig, OverrideErrors]:
    """Compose from the overrides that fit, and return the problems of the others.

    Args:
        name: The primary config.
        overrides: One job's.
        suspects: Overrides that did not fit in other jobs of the sweep; they are tried last, so
            that the others need not be tried one by one again.

    Raises:
        PrimaryError: The primary config does not compose by itself.
    """
    good = [o for o in sorted(overrides, key=_is_value) if o not in suspects]
    errors: OverrideErrors = {}
    try:
        cfg = compose_strict(name, good)
    except Exception:  # Hydra raises ValueError, AssertionError and more for bad overrides
        good, cfg = _one_by_one(name, [], good, errors, _primary(name))
    good, cfg = _one_by_one(name, good, [o for o in suspects if o in overrides], errors, cfg)
    unknown_options = {key_of(o) for o in errors if not _is_value(o)}
    return cfg, {  # without keys of an option that does not exist: they cannot be judged
        override: problem
        for override, problem in errors.items()
        if not _is_value(override) or key_of(override).split(".")[0] not in unknown_options
    }


def _primary(name: str) -> DictConfig:
    try:
        return compose_strict(name, ())
    except Exception as error:  # of many types; see compose_strict
        raise PrimaryError(first_line(error)) from None


def _one_by_one(
    name: str, good: list[str], overrides: Sequence[str], errors: OverrideErrors, cfg: DictConfig
) -> tuple[list[str], DictConfig]:
    """Add each override that fits to `good`, which composes to `cfg`; others go to `errors`."""
    for override in overrides:
        try:
            cfg = compose_strict(name, [*good, override])
            good = [*good, override]
        except Exception as error:  # noqa: PERF203 - one at a time; see compose_strict
            errors[override] = explain(override, error, cfg)
    return good, cfg


def key_of(override: str) -> str:
    """Return the key that an override is about.

    >>> key_of("+array.rows=8"), key_of("~tracking")
    ('array.rows', 'tracking')
    """
    return override.lstrip("+~").partition("=")[0]


def _is_value(override: str) -> bool:
    """Return whether an override sets a value; else it chooses an option, which brings keys."""
    return "." in key_of(override)


def explain(override: str, error: Exception, cfg: DictConfig) -> str:
    """Return what was given and what is allowed.

    Args:
        override: The override that does not fit.
        error: What Hydra raised for it.
        cfg: The configuration without it.
    """
    key, value = key_of(override), override.partition("=")[2] or "nothing"
    text = str(error.__cause__ or error)
    options = [
        option
        for option in GlobalHydra.instance().config_loader().get_group_options(key)
        if not option.startswith("_")  # shared parts of others
    ]
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if options and key not in cfg and not override.startswith("+"):
        return f"{key}: {value} given, but nothing to replace; write +{key}={value}"
    if options and value not in options:
        return f"{key}: {value} given; allowed: {', '.join(options)}"
    if isinstance(node, DictConfig) and last not in node:
        allowed = ", ".join(sorted(str(name) for name in node))
        return f"{key}: no such key ({value} given); allowed here: {allowed}"
    return f"{key}: {value} given; {_allowed(text, error)}"


def _allowed(text: str, error: Exception) -> str:
    """Return what a value must be, from the message of OmegaConf or Hydra about it."""
    kind = re.search(r"could not be converted to (\w+)", text)
    if kind:
        return f"{KINDS.get(kind[1], kind[1])} is needed"
    if "NoneType is not a subclass of" in text:
        return "a list without null is needed"
    if "is not a ListConfig" in text:
        return "a list, [a,b], is needed"
    if "Ambiguous value" in text:
        return "a sweep over it needs -m, a list is written [a,b]"
    if isinstance(error, RecursionError):
        return "it refers to itself"
    if isinstance(error, GrammarParseError | InterpolationResolutionError):
        return f"it refers to a value that is not there ({first_line(error)})"
    return first_line(error)


def not_given(key: str) -> str:
    """Return the problem that a key without a value is."""
    return f"{key}: not given; set it with {key}=..."


def first_line(error: Exception) -> str:
    """Return the first line of a message, without Hydra's bookkeeping."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
