"""Compare finished runs: what differs, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from efat.campaign.run_result import RunResult
from efat.errors import EfatError, raise_problems
from efat.seeds import generator

Row = dict[str, Any]

DRAWS = 2000
"""Of the bootstrap."""


@dataclass(frozen=True)
class Difference:
    """How much better a run does on the chips that both serve.

    Args:
        chips: How many chips of equal name and fault map both have.
        clusters: Independent parts they fall into: chips that share a model in either run hang
            together.
        mean: Of the difference in the test metric, this run less the first.
        low: End of the 95 % interval.
        high: Other end.
    """

    chips: int
    clusters: int
    mean: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero, on enough parts to be one."""
        return self.clusters >= 5 and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Comparison:
    """Runs with one row each, their results on the chips of the first, and sentences.

    Args:
        runs: The first is what the others are compared with.
        names: Of the runs, in tables.
        rows: One a run.
        differences: One a run; None for the first, and where no chip is in both.
        settings: Keys of the configuration that differ, each with its value in every run.
        statuses: Chips of the first run whose status differs, each with its status in
            every run; `-`: not in that run.
        findings: In words.
    """

    runs: tuple[RunResult, ...]
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    differences: tuple[Difference | None, ...]
    settings: tuple[tuple[str, ...], ...]
    statuses: tuple[tuple[str, ...], ...]
    findings: tuple[str, ...]


def compare_runs(runs: Sequence[RunResult]) -> Comparison:
    """Compare runs with the first of them.

    Raises:
        EfatError: Fewer than two, or they measure different things.
    """
    if len(runs) < 2:
        raise EfatError(f"runs: {len(runs)} given; stage=compare needs two or more folders")
    first = runs[0]
    raise_problems(
        f"runs: {run.folder} measures {run.metric.name}, {first.folder} {first.metric.name}; "
        "only runs of one metric can be compared"
        for run in runs[1:]
        if replace(run.metric, proportion=first.metric.proportion) != first.metric
    )
    names = tuple(_name(index, run) for index, run in enumerate(runs))
    differences = (None, *(_difference(first, run) for run in runs[1:]))
    rows = tuple(map(_row, names, runs, differences))
    others = zip(names[1:], runs[1:], differences[1:], strict=True)
    words = [_finding(names[0], first, *rest) for rest in others]
    settings, statuses = tuple(_settings(runs)), tuple(_statuses(runs))
    return Comparison(tuple(runs), names, rows, differences, settings, statuses, tuple(words))


def _name(index: int, run: RunResult) -> str:
    """Name a run in tables: a letter, its name and its planner."""
    return f"{chr(65 + index % 26)}: {run.name}, {run.chosen.label}"


def _row(name: str, run: RunResult, difference: Difference | None) -> Row:
    chosen = run.chosen
    row = {
        "run": name,
        "folder": str(run.folder),
        "chips": len(run.chips),
        "models": chosen.models,
        "epochs": chosen.retraining.epochs,
        "epochs_incl_analysis": chosen.retraining.epochs + run.outcome.once_epochs(chosen),
        "pass_val": chosen.pass_val,
        "pass_test": chosen.pass_test,
        "certified": chosen.certified,
        "unsalvageable": len(run.outcome.unsalvageable),
        "baseline_test": run.outcome.baseline.test,
        "mean_test": chosen.mean_test,
        "worst_test": chosen.worst_test,
    }
    names = ("difference", "difference_low", "difference_high", "difference_shown")
    values: tuple[Any, ...] = (None,) * 4
    if difference:
        values = (difference.mean, difference.low, difference.high, difference.shown)
    return row | dict(zip(names, values, strict=True))


def _difference(first: RunResult, run: RunResult) -> Difference | None:
    """Compare chip by chip; None where no chip is in both."""
    theirs = {chip.chip_id: chip.fault_map for chip in first.maps}
    same = [c.chip_id for c in run.maps if theirs.get(c.chip_id) == c.fault_map]
    if not same:
        return None
    before, now = ({row.chip_id: row for row in r.chips} for r in (first, run))
    deltas = np.array([now[chip].test_after - before[chip].test_after for chip in same])
    labels = _clusters([(before[chip].group, now[chip].group) for chip in same])
    low, high = _interval(deltas, labels)
    return Difference(len(same), len(set(labels)), float(deltas.mean()), low, high)


def _clusters(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Number the parts into which chips fall that share a model in either run.

    >>> _clusters([("a", "x"), ("a", "y"), ("b", "y"), ("c", "z"), ("", "")])
    [0, 0, 0, 3, 4]
    """
    labels = list(range(len(pairs)))
    seen: dict[tuple[int, str], int] = {}
    for index, pair in enumerate(pairs):
        for side, group in enumerate(pair):
            if not group:
                continue
            other = labels[seen.setdefault((side, group), index)]
            mine, least = labels[index], min(labels[index], other)
            labels = [least if label in (mine, other) else label for label in labels]
    return labels


def _interval(deltas: np.ndarray[Any, Any], labels: Sequence[int]) -> tuple[float, float]:
    """Return the 95 % interval of the mean by a bootstrap over clusters (Efron, 1979)."""
    unique, inverse = np.unique(labels, return_inverse=True)
    sums = np.bincount(inverse, weights=deltas)
    sizes = np.bincount(inverse)
    drawn = generator(0, "compare").integers(0, len(unique), (DRAWS, len(unique)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _finding(
    base: str, first: RunResult, name: str, run: RunResult, difference: Difference | None
) -> str:
    """Say how a run compares with the first."""
    ours, theirs = (r.chosen.retraining.epochs for r in (run, first))
    cost = f"{ours:.1f} epochs against {theirs:.1f}"
    cost += f" ({ours / theirs - 1:+.0%})" if theirs else ""
    if difference is None:
        return f"{name} against {base}: {cost}; no chip is in both, so accuracy is not compared."
    unit = 100 if run.metric.is_share else 1
    mean, low, high = (unit * v for v in (difference.mean, difference.low, difference.high))
    if difference.clusters < 5:
        flag = f"only {difference.clusters} independent parts: too few to tell"
    else:
        flag = "a difference" if difference.shown else "no difference shown"
    return (
        f"{name} against {base}: {cost}. On {difference.chips} common chips test {run.metric.name} "
        f"changes by {mean:+.3g}{' points' if unit == 100 else ''} (95% interval {low:+.3g} to "
        f"{high:+.3g}, {difference.clusters} independent parts): {flag}."
    )


def _statuses(runs: Sequence[RunResult]) -> Iterable[tuple[str, ...]]:
    """Yield each chip of the first run whose status differs, with its status in every run."""
    maps = [{chip.chip_id: chip.fault_map for chip in run.maps} for run in runs]
    statuses = [{chip.chip_id: chip.status for chip in run.chips} for run in runs]
    for chip, fault_map in maps[0].items():
        values = [
            status[chip] if own.get(chip) == fault_map else "-"
            for own, status in zip(maps, statuses, strict=True)
        ]
        if len(set(values) - {"-"}) > 1:
            yield (chip, *values)


def _settings(runs: Sequence[RunResult]) -> Iterable[tuple[str, ...]]:
    """Yield each key of the configuration whose values are not all the same, with the values."""
    flat = [dict(_leaves("", OmegaConf.to_container(OmegaConf.create(r.config)))) for r in runs]
    for key in dict.fromkeys(key for one in flat for key in one):
        values = [one.get(key, "-") for one in flat]
        if len(set(values)) > 1 and not key.startswith(("store", "executor", "tracking", "runs")):
            yield (key, *values)


def _leaves(name: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), item)
    else:
        yield name, str(value)
