"""The tables of the record, from its raw rows.

python experiments/2026-11-22-amounts/table.py
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import binomtest

HERE = Path(__file__).parent
Row = dict[str, str]


def read(name: str) -> list[Row]:
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(c) + " |" for c in [head, ["---"] * len(head), *lines])


def amounts_table() -> str:
    """Lay out what each way to read amounts leads to, one value a seed that ran."""
    lines = [
        [
            maps,
            f"`{stat}`",
            sustained,
            " ".join(rows),
            *(
                " / ".join(row[name] for row in rows.values())
                for name in ("models", "retrain_steps")
            ),
            " / ".join(f"{100 * float(row['max_rate']):.0f} %" for row in rows.values()),
            *(
                " / ".join(str(len(row[name].split())) for row in rows.values())
                for name in ("reached", "met_val", "met_test")
            ),
        ]
        for (maps, stat, sustained), rows in ways().items()
    ]
    head = ["maps", "stat", "sustained", "seeds", "models", "steps", "map ends at",
            "chips within reach", "met val.", "met test"]  # fmt: skip
    return markdown(head, lines)


PAIRS = (
    (("5", "max", "1"), ("5", "max", "2")),
    (("5", "max", "2"), ("5", "max", "3")),
    (("25", "conformal", "1"), ("25", "conformal", "2")),
    (("25", "conformal", "2"), ("25", "conformal", "3")),
    (("25", "quantile", "1"), ("25", "conformal", "1")),
    (("25", "conformal", "1"), ("25", "max", "1")),
    (("25", "mean", "1"), ("25", "max", "1")),
)
"""Ways that are compared on the chips within reach of both."""


def pairs_table() -> str:
    """Lay out two ways on the same chips: those within reach of both, over the seeds of both."""
    lines = []
    for pair in PAIRS:
        one, other = (ways()[way] for way in pair)
        seeds = [seed for seed in one if seed in other]
        common = {
            seed: set(one[seed]["reached"].split()) & set(other[seed]["reached"].split())
            for seed in seeds
        }
        cells = [
            f"{sum(len(common[seed] & set(rows[seed][name].split())) for seed in seeds)}"
            for name in ("met_val", "met_test")
            for rows in (one, other)
        ]
        label = " or ".join(f"{maps} maps, `{stat}`, {k}" for maps, stat, k in pair)
        shared = str(sum(map(len, common.values())))
        lines.append(
            [label, " ".join(seeds), shared, " or ".join(cells[:2]), " or ".join(cells[2:])]
        )
    return markdown(["maps, stat, sustained", "seeds", "chips", "met val.", "met test"], lines)


def ways() -> dict[tuple[str, str, str], dict[str, Row]]:
    """Return the rows by maps, stat and sustained, then by seed."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in read("results.csv"):
        found.setdefault((row["maps"], row["stat"], row["sustained"]), {})[row["seed"]] = row
    return found


def fresh_table() -> str:
    """Lay out how many fresh chips the conformal amounts are enough for."""
    rates: dict[tuple[str, str], list[Row]] = {}
    for row in read("fresh.csv"):
        rates.setdefault((row["seed"], row["fault_rate"]), []).append(row)
    lines = []
    for (seed, rate), rows in rates.items():
        crossed = sum(row["crossing_steps"] != "" for row in rows)
        ended = sum(float(row["val_metric"]) >= float(row["target"]) for row in rows)
        lines.append(
            [
                seed, f"{100 * float(rate):.0f} %", rows[0]["amount_steps"], str(len(rows)),
                interval(crossed, len(rows)), interval(ended, len(rows)),
            ]
        )  # fmt: skip
    head = ["seed", "faulty", "amount, steps", "fresh chips", "met it by then", "meet it then"]
    return markdown(head, lines)


def interval(count: int, of: int) -> str:
    """Write a share in percent with its exact 95 % interval."""
    found = binomtest(count, of).proportion_ci(0.95, "exact")
    return f"{100 * count / of:.1f} % ({100 * found.low:.1f}-{100 * found.high:.1f})"


if __name__ == "__main__":
    print(amounts_table(), pairs_table(), fresh_table(), sep="\n\n")
