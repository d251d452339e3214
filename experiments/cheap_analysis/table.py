"""The tables of the record, from its raw rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from statistics import mean

from efat.resilience import ResilienceMap
from experiments.cheap_analysis.replay import (
    BISECT,
    BOTH,
    BUDGET,
    DIGITS,
    EVERY,
    FEW,
    HERE,
    LIMITED,
    READINGS,
    REPAIRED,
    UNTIL,
    WHOLE,
    Way,
    analyse,
    evaluations_of,
    maps_of,
    other_maps,
    sets,
    shares,
)
from experiments.records import Row, markdown, read

READ_AT = [percent / 100 for percent in range(1, 26)]
"""Fault rates at which maps are compared: those of the main job's chips."""
TRIED = {"0": 5, "1": 5, "2": 3}
"""Sets, by seed, on which the ways were thought out; the others were run when all was decided."""
MEAN = replace(LIMITED, label="the same, `stat=mean`", reading="mean")
ISOTONIC = replace(LIMITED, label="the same, `stat=mean monotone=isotonic`", reading="isotonic")
Pairs = Iterable[tuple[ResilienceMap, ResilienceMap]]


def spread(values: Iterable[float], form: str = ".2f") -> str:
    """Write a mean, and least to most."""
    values = list(values)
    lowest, highest = min(values), max(values)
    if lowest == highest:
        return f"{lowest:{form}}"
    return f"{mean(values):{form}} ({lowest:{form}}-{highest:{form}})"


def costs_table() -> str:
    """Lay out what each way costs, as shares of the whole grid: mean, least to most over sets."""
    return _costs(DIGITS, (WHOLE, UNTIL, FEW, BISECT, BOTH, LIMITED, MEAN, ISOTONIC))


def repaired_costs_table() -> str:
    """Lay out the same where each curve begins with a repair."""
    return _costs(REPAIRED, (WHOLE, UNTIL, FEW, BOTH, LIMITED))


def _costs(network: str, ways: Iterable[Way]) -> str:
    lines = []
    for way in ways:
        runs = [analyse(key, way, network) for key in sets(network)]
        paid = [shares(key, way, network) for key in sets(network)]
        unused = [
            evaluations_of(c for c in run.curves if c.fault_rate not in run.fault_rates)
            / evaluations_of(run.curves)
            for run in runs
        ]
        lines.append(
            [
                way.label,
                spread((len(run.curves) for run in runs), ".0f"),
                spread((run.rounds for run in runs), ".0f"),
                *(spread(share[name] for share in paid) for name in paid[0]),
                f"{sum(max(share.values()) <= 0.25 for share in paid)} of {len(paid)}",
                spread(unused),
            ]
        )
    shown = ["steps", "samples forward", "seconds", *["repairs"] * (network == REPAIRED)]
    return markdown(["", "curves", "rounds", *shown, "all at most 0.25", "of it unused"], lines)


def same_table() -> str:
    """Lay out how far maps are apart: shorter and whole ones, of the same and of other maps."""
    return _same(DIGITS, (FEW, BOTH, LIMITED))


def repaired_same_table() -> str:
    """Lay out the same where each curve begins with a repair."""
    return _same(REPAIRED, (FEW, BOTH, LIMITED))


def _same(network: str, ways: Iterable[Way]) -> str:
    whole, lines = maps_of(WHOLE, network), []
    for way in ways:
        found = maps_of(way, network)
        lines.append([f"{way.label}; whole, same maps", *apart(zip_maps(found, whole))])
        lines.append([f"{way.label}; whole, other maps", *apart(other_maps(found, whole))])
    lines.append(["whole; whole, other maps", *apart(other_maps(whole, whole))])
    return markdown(["", *APART], lines)


def zip_maps(ones: dict, others: dict) -> Pairs:
    return [(one, others[key]) for key, one in ones.items()]


APART = ("pairs", "steps apart, mean", "most", "only one within reach", "first asks less / more",
         "first ends lower / higher")  # fmt: skip


def apart(pairs: Pairs) -> list[str]:
    """Write how far maps are apart: at the rates of chips by how many steps where both are within
    reach, at how many only one is, at how many the first asks less or more (inf is most), and in
    how many pairs the first map ends at a lower or higher fault rate."""
    pairs = list(pairs)
    amounts = [(one.amount(rate), other.amount(rate)) for one, other in pairs for rate in READ_AT]
    finite = [abs(a - b) for a, b in amounts if max(a, b) < math.inf]
    one_sided = mean((a < math.inf) != (b < math.inf) for a, b in amounts)
    ends = [(one.max_severity, other.max_severity) for one, other in pairs]
    return [
        str(len(pairs)),
        f"{mean(finite):.1f}",
        f"{max(finite):.0f}",
        f"{100 * one_sided:.0f} %",
        f"{100 * mean(a < b for a, b in amounts):.0f} / "
        f"{100 * mean(a > b for a, b in amounts):.0f} %",
        f"{sum(a < b for a, b in ends)} / {sum(a > b for a, b in ends)}",
    ]


def fresh_table() -> str:
    """Lay out the limited way on the sets that it was thought out on, and on those run later."""
    whole, found, lines = maps_of(WHOLE), maps_of(LIMITED), []
    for label, keys in (
        ("tried on: seeds 0-2", [key for key in sets() if key[1] < TRIED.get(key[0], 0)]),
        ("later: seeds 2-4", [key for key in sets() if key[1] >= TRIED.get(key[0], 0)]),
    ):
        paid = [shares(key, LIMITED) for key in keys]
        mine = {key: whole[key] for key in keys}
        own = apart((found[key], whole[key]) for key in keys)
        others = apart(other_maps(mine, mine))
        lines.append(
            [
                label,
                str(len(keys)),
                *(spread(share[name] for share in paid) for name in paid[0]),
                *(f"{own[i]} and {others[i]}" for i in (1, 2, 3)),
            ]
        )
    head = ["", "sets", "steps", "samples forward", "seconds", *APART[1:4]]
    return markdown(head, lines)


def sets_table() -> str:
    """Lay out set by set what the limited way costs, and how far its map is from the whole one."""
    lines = []
    for seed in dict.fromkeys(seed for seed, _ in sets()):
        mine = [key for key in sets() if key[0] == seed]
        for way in (BOTH, LIMITED):
            paid = [f"{shares(key, way)['steps']:.2f}" for key in mine]
            lines.append([seed, f"steps, {way.label}", *paid])
        pairs = [
            (analyse(key, LIMITED).resilience_map, analyse(key, WHOLE).resilience_map)
            for key in mine
        ]
        cells = [apart([pair]) for pair in pairs]
        lines.append(
            [seed, "steps apart; only one within reach", *(f"{c[1]}; {c[3]}" for c in cells)]
        )
        ends = [f"{one.max_severity:.2f}; {other.max_severity:.2f}" for one, other in pairs]
        lines.append([seed, "map ends at: limited; whole", *ends])
    return markdown(["seed", "", *(f"set {i}" for i in range(5))], lines)


def ran_table() -> str:
    """Lay out what analyses took that were run, as shares of the whole one, and their maps."""
    ran = {(row["network"], row["seed"], row["job"]): row for row in read(HERE / "runs.csv")}
    lines = []
    for network, seed in dict.fromkeys((network, seed) for network, seed, _ in ran):
        whole, limited = ran[network, seed, "grid"], ran[network, seed, "limited"]
        found = [
            " ".join(
                f"{float(ran[network, seed, job][name]) / float(whole[name]):.2f}"
                for name in ("steps", "evaluations", "curves", "seconds")
            )
            for job in ("short", "limited")
        ]
        near = apart([(ran_map(limited), ran_map(whole))])[1:4]
        lines.append([network, seed, f"{float(whole['seconds']):.0f}", *found, *near])
    head = ["", "seed", "whole, seconds", "both: steps, evaluations, curves, seconds"]
    return markdown([*head, "limited: the same", *APART[1:4]], lines)


def others_table() -> str:
    """Lay out how far whole maps of two seeds are apart, network by network."""
    maps: dict[str, list[ResilienceMap]] = {}
    for row in read(HERE / "runs.csv"):
        if row["job"] == "grid":
            maps.setdefault(row["network"], []).append(ran_map(row))
    lines = [[name, *apart(combinations(found, 2))[:4]] for name, found in maps.items()]
    return markdown(["", *APART[:4]], lines)


def ran_map(row: Row) -> ResilienceMap:
    severities, amounts = (
        tuple(map(float, row[name].split())) for name in ("severities", "amounts_steps")
    )
    return ResilienceMap(1.0, severities, amounts, "ceil")


def readings_table() -> str:
    """Lay out how far maps of means are apart: whole, limited, made monotone in two ways."""
    lines = []
    for reading in ("mean", "isotonic"):
        whole, found = (maps_of(replace(way, reading=reading)) for way in (WHOLE, LIMITED))
        label = ", ".join(READINGS[reading])
        lines.append([f"{label}: limited; whole, same maps", *apart(zip_maps(found, whole))])
        lines.append([f"{label}: whole; whole, other maps", *apart(other_maps(whole, whole))])
    return markdown(["", *APART], lines)


def resolutions_table() -> str:
    """Lay out what other gaps between neighbours than one evaluation would cost and lose."""
    lines, whole = [], maps_of(WHOLE)
    for steps in (EVERY, 2 * EVERY, 3 * EVERY, 4 * EVERY, BUDGET):
        way = replace(BOTH, resolution_steps=steps)
        paid = spread(shares(key, way)["steps"] for key in sets())
        label = f"{steps} steps" if steps < BUDGET else "only where the map ends"
        lines.append([label, paid, *apart(zip_maps(maps_of(way), whole))[1:]])
    return markdown(["measured between amounts more apart than", "steps", *APART[1:]], lines)


def where_table() -> str:
    """Lay out where the steps of the unlimited search go."""
    curves = [curve for key in sets() for curve in analyse(key, BOTH).curves]
    total = sum(curve.amount_steps[-1] for curve in curves)
    parts = {
        "below 30 % faults": [c for c in curves if c.fault_rate < 0.3],
        "from 30 % on": [c for c in curves if c.fault_rate >= 0.3],
        "maps never met, at any rate": [c for c in curves if c.crossing(1.0) == math.inf],
    }
    lines = [
        [label, f"{100 * sum(curve.amount_steps[-1] for curve in some) / total:.0f} %"]
        for label, some in parts.items()
    ]
    return markdown(["curves", "steps"], lines)


def tables() -> list[str]:
    return [
        costs_table(), same_table(), sets_table(), fresh_table(), repaired_costs_table(),
        repaired_same_table(), ran_table(), others_table(), readings_table(), where_table(),
        resolutions_table(),
    ]  # fmt: skip
