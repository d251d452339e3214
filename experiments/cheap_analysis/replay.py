"""Every way to analyse, replayed with the code of the campaign on the same recorded curves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from efat.campaign import Selection
from efat.resilience import Constraint, RateGrid, ResilienceCurve, ResilienceMap, Search
from experiments.less_retraining.counting import unit_seconds
from experiments.records import read, where

HERE = Path(__file__).parent
BUDGET, EVERY, BATCH, VAL, MAPS = 96, 8, 32, 359, 5
"""Steps; steps; samples of a step and of validation; maps per rate."""
DIGITS, REPAIRED = "digits ResNet-8", "digits ResNet-8, repaired"
READINGS = {
    "max": ("max", "envelope"),
    "mean": ("mean", "envelope"),
    "isotonic": ("mean", "isotonic"),
}
Key = tuple[str, int]
"""Seed and set of maps."""


@dataclass(frozen=True)
class Way:
    """How to analyse: how maps are read, which rates are measured, where curves and search end.

    `only`: the rates of the grid; none: those of the main job.
    """

    label: str
    reading: str = "max"
    search: Search = "grid"
    until_met: bool = False
    max_cost: float | None = None
    resolution_steps: int = EVERY
    only: tuple[float, ...] = ()


WHOLE = Way("whole grid")
UNTIL = Way("`until_met`", until_met=True)
FEW = replace(UNTIL, label="`until_met`, five rates: 5, 10, 20, 30, 40 %",
              only=(0.05, 0.1, 0.2, 0.3, 0.4))  # fmt: skip
BISECT = Way("`search=bisect`", search="bisect")
BOTH = replace(BISECT, label="`until_met` and `bisect`", until_met=True)
LIMITED = replace(BOTH, label="**both, `max_cost=0.25`**", max_cost=0.25)

RAN = {"grid": WHOLE, "short": BOTH, "limited": LIMITED}
"""What `run.py` calls the ways that it runs."""


@dataclass(frozen=True)
class Analysis:
    """One way to analyse one set of maps: the map, the curves paid for, and the rounds.

    `fault_rates`: those that the map is read off.
    """

    resilience_map: ResilienceMap
    curves: tuple[ResilienceCurve, ...]
    rounds: int
    fault_rates: frozenset[float]


@cache
def sets(network: str = DIGITS) -> dict[Key, tuple[ResilienceCurve, ...]]:
    """Return whole curves by seed and set of maps; a curve is 1 from its crossing on, 0 before."""
    curves: dict[Key, tuple[ResilienceCurve, ...]] = {}
    steps = tuple(range(0, BUDGET + 1, EVERY))
    for row in where(read(HERE / "crossings.csv.gz"), network=network):
        rate, repeat = float(row["fault_rate"]), int(row["repeat"])
        crossing = float(row["crossing_1"] or math.inf)
        metric = tuple(float(step >= crossing) for step in steps)
        key = row["seed"], repeat // MAPS
        curve = ResilienceCurve(rate, repeat, rate, steps, metric)
        curves[key] = (*curves.get(key, ()), curve)
    return curves


def ended(curve: ResilienceCurve) -> ResilienceCurve:
    """Return a curve as `until_met` records it: up to its crossing."""
    points = int(min(curve.crossing(1.0), BUDGET)) // EVERY + 1
    return replace(curve, amount_steps=curve.amount_steps[:points], metric=curve.metric[:points])


@cache
def analyse(key: Key, way: Way, network: str = DIGITS) -> Analysis:
    """Replay an analysis on the curves of a set, which are all there, as a campaign does."""
    whole = {(c.fault_rate, c.repeat % MAPS): c for c in sets(network)[key]}
    rates = way.only or tuple(sorted({rate for rate, _ in whole}))
    grid = RateGrid(rates, MAPS, BUDGET // EVERY + 1, way.search, way.max_cost, network == REPAIRED)
    severities = {rate: (rate,) * MAPS for rate in rates}
    stat, monotone = READINGS[way.reading]
    how = Selection(Constraint(limit=1.0), stat, 0.9, "ceil", monotone=monotone)
    curves, amounts, rounds = (), {}, 0
    while wanted := grid.next_curves(curves, amounts, way.resolution_steps):
        curves += tuple(ended(whole[at]) if way.until_met else whole[at] for at in wanted)
        amounts = how.amounts_by_rate(curves, 1.0, severities)
        rounds += 1
    return Analysis(how.read(curves, 1.0, severities), curves, rounds, frozenset(amounts))


def cost(analysis: Analysis, network: str = DIGITS) -> dict[str, float]:
    """Return steps, samples passed forward for evaluation, seconds and repairs."""
    steps = sum(curve.amount_steps[-1] for curve in analysis.curves)
    evaluations, units = evaluations_of(analysis.curves), len(analysis.curves)
    part = unit_seconds()
    unit = part["unit"] + part["one-shot"] * (network == REPAIRED)
    seconds = part["step"] * steps + part["evaluation"] * evaluations + unit * units
    paid = {"steps": steps, "forward": VAL * evaluations, "seconds": seconds}
    return paid | ({"repairs": units} if network == REPAIRED else {})


def evaluations_of(curves: Iterable[ResilienceCurve]) -> int:
    return sum(len(curve.metric) for curve in curves)


def shares(key: Key, way: Way, network: str = DIGITS) -> dict[str, float]:
    """Return what a way costs on a set, as shares of its whole grid."""
    whole = cost(analyse(key, WHOLE, network), network)
    return {n: paid / whole[n] for n, paid in cost(analyse(key, way, network), network).items()}


def maps_of(way: Way, network: str = DIGITS) -> dict[Key, ResilienceMap]:
    """Return the resilience map that a way finds on each set."""
    return {key: analyse(key, way, network).resilience_map for key in sets(network)}


def other_maps(
    ones: dict[Key, ResilienceMap], others: dict[Key, ResilienceMap]
) -> list[tuple[ResilienceMap, ResilienceMap]]:
    """Pair each map with those of the other sets of its seed, of the same baseline."""
    return [
        (one, other)
        for a, one in ones.items()
        for b, other in others.items()
        if a[0] == b[0] and a != b
    ]
