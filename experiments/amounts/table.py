"""The tables of the record, from its raw rows."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from scipy.stats import binomtest

from experiments.records import Row, markdown, percent, read, share, where

HERE = Path(__file__).parent
Way = tuple[str, str, str]
PAIRS = (
    (("5", "max", "1"), ("5", "max", "2")),
    (("5", "max", "2"), ("5", "max", "3")),
    (("25", "conformal", "1"), ("25", "conformal", "2")),
    (("25", "conformal", "2"), ("25", "conformal", "3")),
    (("25", "quantile", "1"), ("25", "conformal", "1")),
    (("25", "conformal", "1"), ("25", "max", "1")),
    (("25", "mean", "1"), ("25", "max", "1")),
)
"""Ways (maps, stat, sustained) that are compared on the chips within reach of both."""


@cache
def ways() -> dict[Way, dict[str, Row]]:
    """Return the rows by maps, stat and sustained, then by seed."""
    by_way: dict[Way, dict[str, Row]] = {}
    for row in read(HERE / "results.csv"):
        by_way.setdefault((row["maps"], row["stat"], row["sustained"]), {})[row["seed"]] = row
    return by_way


def amounts_table() -> str:
    """Lay out what each way to read amounts leads to, one value per seed that ran."""
    lines = []
    for (maps, stat, sustained), by_seed in ways().items():
        rows = by_seed.values()
        columns = [[row[name] for row in rows] for name in ("models", "retrain_steps")]
        columns.append([percent(row["max_rate"]) for row in rows])
        columns += [
            [str(len(chips(row, name))) for row in rows]
            for name in ("reached", "met_val", "met_test")
        ]
        lines.append([maps, f"`{stat}`", sustained, " ".join(by_seed), *map(" / ".join, columns)])
    head = ["maps", "stat", "sustained", "seeds", "models", "steps", "map ends at",
            "chips within reach", "met val.", "met test"]  # fmt: skip
    return markdown(head, lines)


def pairs_table() -> str:
    """Lay out two ways on the same chips: those within reach of both, over the seeds of both."""
    lines = []
    for pair in PAIRS:
        one, other = (ways()[way] for way in pair)
        seeds = [seed for seed in one if seed in other]
        common = {s: chips(one[s], "reached") & chips(other[s], "reached") for s in seeds}
        cells = [
            " or ".join(
                str(sum(len(common[seed] & chips(rows[seed], name)) for seed in seeds))
                for rows in (one, other)
            )
            for name in ("met_val", "met_test")
        ]
        label = " or ".join(f"{maps} maps, `{stat}`, {k}" for maps, stat, k in pair)
        lines.append([label, " ".join(seeds), str(sum(map(len, common.values()))), *cells])
    return markdown(["maps, stat, sustained", "seeds", "chips", "met val.", "met test"], lines)


def chips(row: Row, name: str) -> set[str]:
    return set(row[name].split())


def fresh_table() -> str:
    """Lay out how many fresh chips the conformal amounts are enough for."""
    everything, lines = read(HERE / "chips.csv.gz"), []
    for seed, rate in dict.fromkeys((row["seed"], row["fault_rate"]) for row in everything):
        rows = where(everything, seed=seed, fault_rate=rate)
        crossed = sum(row["crossing_steps"] != "" for row in rows)
        ended = sum(float(row["val_metric"]) >= float(row["target"]) for row in rows)
        lines.append([
            seed, percent(rate), rows[0]["amount_steps"], str(len(rows)),
            interval(crossed, len(rows)), interval(ended, len(rows)),
        ])  # fmt: skip
    head = ["seed", "faulty", "amount, steps", "fresh chips", "met it by then", "meet it then"]
    return markdown(head, lines)


def interval(count: int, of: int) -> str:
    """Write a share in percent with its exact 95 % interval."""
    exact = binomtest(count, of).proportion_ci(0.95, "exact")
    return f"{share(count / of)} % ({share(exact.low)}-{share(exact.high)})"


def tables() -> list[str]:
    return [amounts_table(), pairs_table(), fresh_table()]
