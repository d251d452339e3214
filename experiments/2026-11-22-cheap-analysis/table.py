"""The tables of the record, from its raw rows: every way to analyse, replayed on the same curves.

python experiments/2026-11-22-cheap-analysis/table.py
"""

from __future__ import annotations

import csv
import math
import runpy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import mean

from efat.rate_search import next_rates
from efat.resilience import ResilienceCurve, ResilienceMap, build_resilience_map

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


def map_of(curves: Sequence[ResilienceCurve], reading: str) -> ResilienceMap:
    stat, monotone = READINGS[reading]
    return build_resilience_map(curves, 1.0, stat, interpolation="ceil", monotone=monotone)


@cache
def analyse(
    key: tuple[str, int], reading: str, search: str, resolution_steps: float = EVERY
) -> Analysis:
    """Replay an analysis on the curves of a set, which are all there."""
    curves = sets()[key]
    candidates = sorted({curve.fault_rate for curve in curves})
    measured: dict[float, float] = {}
    rounds = 0
    while rates := next_rates(candidates, measured, search, resolution_steps):
        known = [c for c in curves if c.fault_rate in measured or c.fault_rate in rates]
        found = map_of(known, reading)
        measured = {c.fault_rate: found.amount(c.fault_rate) for c in known}
        rounds += 1
    return Analysis(found, tuple(known), rounds)


def cost(analysis: Analysis, until_met: bool) -> dict[str, float]:
    """Return steps, samples passed forward for evaluation, and seconds of one processor."""
    ends = [min(c.crossing(1.0), BUDGET) if until_met else BUDGET for c in analysis.curves]
    steps, evaluations = sum(ends), sum(end / EVERY + 1 for end in ends)
    part = seconds_of_parts()
    seconds = part["step"] * steps + part["evaluation"] * evaluations + part["unit"] * len(ends)
    return {"steps": steps, "forward": VAL * evaluations, "seconds": seconds}


@cache
def seconds_of_parts() -> dict[str, float]:
    """Return what a step, an evaluation and a unit take, as 2026-11-22-less-retraining measured."""
    script = HERE.parent / "2026-11-22-less-retraining/table.py"
    return runpy.run_path(str(script))["unit_seconds"]()


WAYS = (
    ("whole grid", "max", "grid", False),
    ("`until_met`", "max", "grid", True),
    ("`search=bisect`", "max", "bisect", False),
    ("**both**", "max", "bisect", True),
    ("both, `stat=mean`", "mean", "bisect", True),
    ("both, `stat=mean monotone=isotonic`", "isotonic", "bisect", True),
)


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
    for label, reading, search, until_met in WAYS:
        runs = [analyse(key, reading, search) for key in sets()]
        wholes = [cost(analyse(key, reading, "grid"), False) for key in sets()]
        costs = [cost(run, until_met) for run in runs]
        shares = {
            name: [paid[name] / whole[name] for paid, whole in zip(costs, wholes, strict=True)]
            for name in wholes[0]
        }
        quarter = sum(share <= 0.25 for share in shares["steps"])
        lines.append(
            [
                label,
                spread((len({c.fault_rate for c in run.curves}) for run in runs), ".1f"),
                spread((run.rounds for run in runs), ".1f"),
                *(spread(shares[name]) for name in ("steps", "forward", "seconds")),
                f"{quarter} of {len(runs)}",
            ]
        )
    head = ["", "rates", "rounds", "steps", "samples forward", "seconds", "steps at most 0.25"]
    return markdown(head, lines)


def seeds_table() -> str:
    """Lay out the steps of both together, seed by seed."""
    lines = []
    for seed in dict.fromkeys(seed for seed, _ in sets()):
        mine = [key for key in sets() if key[0] == seed]
        paid = [cost(analyse(key, "max", "bisect"), True)["steps"] for key in mine]
        whole = len(sets()[mine[0]]) * BUDGET
        lines.append(
            [seed, *(f"{steps / whole:.2f}" for steps in paid), f"{mean(paid) / whole:.2f}"]
        )
    most = max(len(line) for line in lines) - 2
    lines = [[*line[:-1], *[""] * (most + 2 - len(line)), line[-1]] for line in lines]
    return markdown(["seed", *(f"set {i}" for i in range(most)), "mean"], lines)


def difference(one: ResilienceMap, other: ResilienceMap) -> tuple[list[float], int]:
    """Return by how many steps two maps differ at each rate of a chip, and at how many only one
    of them is within reach."""
    pairs = [(one.amount(rate), other.amount(rate)) for rate in READ_AT]
    finite = [abs(a - b) for a, b in pairs if max(a, b) < math.inf]
    return finite, sum((a < math.inf) != (b < math.inf) for a, b in pairs)


def differences_table() -> str:
    """Lay out how far maps are apart: a short one from its own whole one, two whole ones."""
    lines = []
    for reading, (stat, monotone) in READINGS.items():
        whole = {key: analyse(key, reading, "grid").found for key in sets()}
        short = {key: analyse(key, reading, "bisect").found for key in sets()}
        noise = [(whole[a], whole[b]) for a, b in combinations(whole, 2) if a[0] == b[0]]
        rows = {
            "short and whole, same maps": [(short[key], whole[key]) for key in whole],
            "two whole ones, other maps": noise,
        }
        for label, pairs in rows.items():
            found = [difference(one, other) for one, other in pairs]
            steps = [step for finite, _ in found for step in finite]
            apart = sum(count for _, count in found) / (len(found) * len(READ_AT))
            lines.append(
                [
                    f"`{stat}`, {monotone}: {label}", str(len(pairs)), f"{mean(steps):.1f}",
                    f"{max(steps):.0f}", f"{100 * apart:.0f} %",
                ]
            )  # fmt: skip
    head = ["", "pairs", "steps apart, mean", "most", "only one within reach"]
    return markdown(head, lines)


def resolutions_table() -> str:
    """Lay out what other gaps between neighbours than one evaluation would cost and lose."""
    lines = []
    for resolution in (EVERY, 2 * EVERY, 3 * EVERY, 4 * EVERY, BUDGET):
        runs = {key: analyse(key, "max", "bisect", resolution) for key in sets()}
        shares = [
            cost(run, True)["steps"] / (len(sets()[key]) * BUDGET) for key, run in runs.items()
        ]
        found = [
            difference(run.found, analyse(key, "max", "grid").found) for key, run in runs.items()
        ]
        steps = [step for finite, _ in found for step in finite]
        apart = sum(count for _, count in found) / (len(found) * len(READ_AT))
        label = f"{resolution} steps" if resolution < BUDGET else "only where the map ends"
        lines.append([label, spread(shares), f"{mean(steps):.1f}", f"{100 * apart:.0f} %"])
    head = [
        "measured between amounts more apart than",
        "steps",
        "steps apart",
        "only one within reach",
    ]
    return markdown(head, lines)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(c) + " |" for c in [head, ["---"] * len(head), *lines])


if __name__ == "__main__":
    print(costs_table(), seeds_table(), differences_table(), resolutions_table(), sep="\n\n")
