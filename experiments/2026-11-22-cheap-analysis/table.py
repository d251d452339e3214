"""The tables of the record, from its raw rows: every way to analyse, replayed on the same curves.

python experiments/2026-11-22-cheap-analysis/table.py
"""

from __future__ import annotations

import csv
import math
import runpy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import mean

from efat.constraint import Constraint
from efat.experiment import Selection
from efat.rate_search import RateGrid, Search
from efat.resilience import ResilienceCurve, ResilienceMap

HERE = Path(__file__).parent
BUDGET, EVERY, BATCH, VAL, MAPS = 96, 8, 32, 359, 5
"""Steps; steps; samples of a step and of validation; maps a rate."""
READ_AT = [percent / 100 for percent in range(1, 26)]
"""Fault rates at which maps are compared: those of the main job's chips."""
READINGS = {
    "max": ("max", "envelope"),
    "mean": ("mean", "envelope"),
    "isotonic": ("mean", "isotonic"),
}


TRIED = {"0": 5, "1": 5, "2": 3}
"""Sets, by seed, on which the ways were thought out; the others were run when all was decided."""


@dataclass(frozen=True)
class Way:
    """How to analyse: how maps are read, which rates are measured, where curves and search end."""

    label: str
    reading: str = "max"
    search: Search = "grid"
    until_met: bool = False
    max_cost: float | None = None
    resolution_steps: int = EVERY


WHOLE = Way("whole grid")
UNTIL = Way("`until_met`", until_met=True)
BISECT = Way("`search=bisect`", search="bisect")
BOTH = replace(BISECT, label="both", until_met=True)
LIMITED = replace(BOTH, label="**both, `max_cost=0.25`**", max_cost=0.25)
WAYS = (
    WHOLE,
    UNTIL,
    BISECT,
    BOTH,
    LIMITED,
    replace(LIMITED, label="the same, `stat=mean`", reading="mean"),
    replace(LIMITED, label="the same, `stat=mean monotone=isotonic`", reading="isotonic"),
)
RAN = {"grid": WHOLE, "short": BOTH, "limited": LIMITED}
"""What `run.py` calls the ways that it runs."""


@dataclass(frozen=True)
class Analysis:
    """One way to analyse one set of maps: the map found, the curves paid for, and the rounds."""

    found: ResilienceMap
    curves: tuple[ResilienceCurve, ...]
    rounds: int


def read(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def sets() -> dict[tuple[str, int], tuple[ResilienceCurve, ...]]:
    """Return whole curves by seed and set of maps; a curve is 1 from its crossing on, 0 before."""
    found: dict[tuple[str, int], tuple[ResilienceCurve, ...]] = {}
    steps = tuple(range(0, BUDGET + 1, EVERY))
    for row in read("crossings.csv"):
        rate, repeat = float(row["fault_rate"]), int(row["repeat"])
        crossing = float(row["crossing_1"] or math.inf)
        metric = tuple(float(step >= crossing) for step in steps)
        curve = ResilienceCurve(rate, repeat, rate, steps, metric)
        key = row["seed"], repeat // MAPS
        found[key] = (*found.get(key, ()), curve)
    return found


def selection(reading: str) -> Selection:
    stat, monotone = READINGS[reading]
    return Selection(Constraint(limit=1.0), stat, 0.9, "ceil", monotone=monotone)


def ended(curve: ResilienceCurve) -> ResilienceCurve:
    """Return a curve as `until_met` records it: up to its crossing."""
    points = int(min(curve.crossing(1.0), BUDGET)) // EVERY + 1
    return replace(curve, amount_steps=curve.amount_steps[:points], metric=curve.metric[:points])


@cache
def analyse(key: tuple[str, int], way: Way) -> Analysis:
    """Replay an analysis on the curves of a set, which are all there, as a campaign does."""
    whole = {(c.fault_rate, c.repeat % MAPS): c for c in sets()[key]}
    rates = tuple(sorted({rate for rate, _ in whole}))
    grid = RateGrid(rates, MAPS, BUDGET // EVERY + 1, way.search, way.max_cost)
    severities = {rate: (rate,) * MAPS for rate in rates}
    how, curves, rounds = selection(way.reading), (), 0
    while wanted := grid.next_curves(
        curves, how.amounts_by_rate(curves, 1.0, severities), way.resolution_steps
    ):
        curves += tuple(ended(whole[at]) if way.until_met else whole[at] for at in wanted)
        rounds += 1
    return Analysis(how.read(curves, 1.0, severities), curves, rounds)


def cost(analysis: Analysis) -> dict[str, float]:
    """Return steps, samples passed forward for evaluation, and seconds of one processor."""
    steps = sum(curve.amount_steps[-1] for curve in analysis.curves)
    evaluations = sum(len(curve.metric) for curve in analysis.curves)
    part, units = seconds_of_parts(), len(analysis.curves)
    seconds = part["step"] * steps + part["evaluation"] * evaluations + part["unit"] * units
    return {"steps": steps, "forward": VAL * evaluations, "seconds": seconds}


def shares(key: tuple[str, int], way: Way) -> dict[str, float]:
    """Return what a way costs on a set, as shares of its whole grid."""
    whole = cost(analyse(key, WHOLE))
    return {name: paid / whole[name] for name, paid in cost(analyse(key, way)).items()}


@cache
def seconds_of_parts() -> dict[str, float]:
    """Return what a step, an evaluation and a unit take, as 2026-11-22-less-retraining measured."""
    script = HERE.parent / "2026-11-22-less-retraining/table.py"
    return runpy.run_path(str(script))["unit_seconds"]()


def spread(values: Iterable[float], form: str = ".2f") -> str:
    """Write a mean, and least to most."""
    values = list(values)
    lowest, highest = min(values), max(values)
    if lowest == highest:
        return f"{lowest:{form}}"
    return f"{mean(values):{form}} ({lowest:{form}}-{highest:{form}})"


def costs_table() -> str:
    """Lay out what each way costs, as shares of the whole grid: mean, least to most over sets."""
    lines = []
    for way in WAYS:
        runs = [analyse(key, way) for key in sets()]
        paid = [shares(key, way) for key in sets()]
        lines.append(
            [
                way.label,
                spread((len(run.curves) for run in runs), ".0f"),
                spread((run.rounds for run in runs), ".0f"),
                *(spread(share[name] for share in paid) for name in paid[0]),
                f"{sum(max(share.values()) <= 0.25 for share in paid)} of {len(paid)}",
            ]
        )
    head = ["", "curves", "rounds", "steps", "samples forward", "seconds", "all at most 0.25"]
    return markdown(head, lines)


def fresh_table() -> str:
    """Lay out the limited way on the sets that it was thought out on, and on those run later."""
    lines = []
    for label, keys in (
        ("tried on: seeds 0-2", [key for key in sets() if key[1] < TRIED.get(key[0], 0)]),
        ("later: seeds 2-4", [key for key in sets() if key[1] >= TRIED.get(key[0], 0)]),
    ):
        paid = [shares(key, LIMITED) for key in keys]
        whole = {key: analyse(key, WHOLE).found for key in keys}
        own = [(analyse(key, LIMITED).found, whole[key]) for key in keys]
        others = [(whole[a], whole[b]) for a, b in combinations(keys, 2) if a[0] == b[0]]
        lines.append(
            [
                label,
                str(len(keys)),
                *(spread(share[name] for share in paid) for name in paid[0]),
                *(" and ".join(told) for told in zip(apart(own), apart(others), strict=True)),
            ]
        )
    head = ["", "sets", "steps", "samples forward", "seconds"]
    return markdown([*head, "steps apart", "most", "only one within reach"], lines)


def ran_table() -> str:
    """Lay out what analyses took that were run, as shares of the whole one, and their maps."""
    ran = {(row["network"], row["seed"], row["job"]): row for row in read("runs.csv")}
    lines = []
    for network, seed in dict.fromkeys((network, seed) for network, seed, _ in ran):
        whole, limited = ran[network, seed, "grid"], ran[network, seed, "limited"]
        found = [
            f"{float(ran[network, seed, job][name]) / float(whole[name]):.2f}"
            for job in ("short", "limited")
            for name in ("steps", "evaluations", "seconds")
        ]
        near = apart([(ran_map(limited), ran_map(whole))])
        lines.append([network, seed, f"{float(whole['seconds']):.0f}", *found, *near])
    head = ["", "seed", "whole, seconds", "both: steps", "evaluations", "seconds", "limited: steps"]
    return markdown(
        [*head, "evaluations", "seconds", "steps apart, mean", "most", "only one within reach"],
        lines,
    )


def others_table() -> str:
    """Lay out how far whole maps of two seeds are apart, network by network."""
    maps: dict[str, list[ResilienceMap]] = {}
    for row in read("runs.csv"):
        if row["job"] == "grid":
            maps.setdefault(row["network"], []).append(ran_map(row))
    lines = [[name, *apart(combinations(found, 2))] for name, found in maps.items()]
    return markdown(["", "steps apart, mean", "most", "only one within reach"], lines)


def ran_map(row: dict[str, str]) -> ResilienceMap:
    severities, amounts = (
        tuple(map(float, row[name].split())) for name in ("severities", "amounts_steps")
    )
    return ResilienceMap(1.0, severities, amounts, "ceil")


def seeds_table() -> str:
    """Lay out the steps of both together, without and with the limit, seed by seed."""
    lines = []
    for seed in dict.fromkeys(seed for seed, _ in sets()):
        mine = [key for key in sets() if key[0] == seed]
        for way in (BOTH, LIMITED):
            paid = [f"{shares(key, way)['steps']:.2f}" for key in mine]
            lines.append([seed, way.label, *paid, *[""] * (5 - len(mine))])
    return markdown(["seed", "steps", *(f"set {i}" for i in range(5))], lines)


def apart(pairs: Iterable[tuple[ResilienceMap, ResilienceMap]]) -> list[str]:
    """Write how far maps are apart at the rates of chips: by how many steps on average and at
    most, and at how many of the rates only one of them is within reach."""
    finite, one_sided = [], []
    for one, other in pairs:
        amounts = [(one.amount(rate), other.amount(rate)) for rate in READ_AT]
        finite += [abs(a - b) for a, b in amounts if max(a, b) < math.inf]
        one_sided += [(a < math.inf) != (b < math.inf) for a, b in amounts]
    return [f"{mean(finite):.1f}", f"{max(finite):.0f}", f"{100 * mean(one_sided):.0f} %"]


def asks(pairs: Iterable[tuple[ResilienceMap, ResilienceMap]]) -> str:
    """Write at how many of the rates of chips the first of two maps asks less, and more."""
    amounts = [(one.amount(rate), other.amount(rate)) for one, other in pairs for rate in READ_AT]
    less, more = mean(a < b for a, b in amounts), mean(a > b for a, b in amounts)
    return f"{100 * less:.0f} / {100 * more:.0f} %"


def differences_table() -> str:
    """Lay out how far maps are apart: a short one from its own whole one, two whole ones."""
    lines = []
    for reading, (stat, monotone) in READINGS.items():
        found = {
            way: {key: analyse(key, replace(way, reading=reading)).found for key in sets()}
            for way in (WHOLE, BOTH, LIMITED)
        }
        whole = found[WHOLE]
        noise = [(whole[a], whole[b]) for a, b in combinations(whole, 2) if a[0] == b[0]]
        rows = {
            "both and whole, same maps": [(found[BOTH][key], whole[key]) for key in whole],
            "limited and whole, same maps": [(found[LIMITED][key], whole[key]) for key in whole],
            "two whole ones, other maps": noise,
        }
        lines += [
            [f"`{stat}`, {monotone}: {label}", str(len(pairs)), *apart(pairs), asks(pairs)]
            for label, pairs in rows.items()
        ]
        lines[-1][-1] = ""  # which of two whole ones comes first says nothing
    head = ["", "pairs", "steps apart, mean", "most", "only one within reach"]
    head.append("short asks less / more")
    return markdown(head, lines)


def resolutions_table() -> str:
    """Lay out what other gaps between neighbours than one evaluation would cost and lose."""
    lines = []
    for steps in (EVERY, 2 * EVERY, 3 * EVERY, 4 * EVERY, BUDGET):
        way = replace(BOTH, resolution_steps=steps)
        pairs = [(analyse(key, way).found, analyse(key, WHOLE).found) for key in sets()]
        paid = spread(shares(key, way)["steps"] for key in sets())
        mean_apart, _, one_sided = apart(pairs)
        label = f"{steps} steps" if steps < BUDGET else "only where the map ends"
        lines.append([label, paid, mean_apart, one_sided])
    head = ["measured between amounts more apart than", "steps", "steps apart"]
    return markdown([*head, "only one within reach"], lines)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(c) + " |" for c in [head, ["---"] * len(head), *lines])


if __name__ == "__main__":
    for make in (
        costs_table, fresh_table, ran_table, others_table, seeds_table, differences_table,
        resolutions_table,
    ):  # fmt: skip
        print(make(), end="\n\n")
