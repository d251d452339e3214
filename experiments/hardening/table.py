"""Accuracy and fault maps that meet the constraint, a line per recipe; and the networks."""

from __future__ import annotations

from pathlib import Path

from experiments.records import markdown, percent, read, share, spread, where

HERE = Path(__file__).parent


def cell(recipe: str, rate: str) -> str:
    rows = where(read(HERE / "results.csv"), recipe=recipe, fault_rate=rate)
    met = sum(row["met"] == "True" for row in rows)
    return f"{spread([float(row['val']) for row in rows])}: {met} of {len(rows)}"


def tables() -> list[str]:
    rows, networks = read(HERE / "results.csv"), read(HERE / "networks.csv")
    recipes, rates = (dict.fromkeys(row[name] for row in rows) for name in ("recipe", "fault_rate"))
    return [
        markdown(
            ["recipe", *map(percent, rates)],
            [[recipe, *(cell(recipe, rate) for rate in rates)] for recipe in recipes],
        ),
        markdown(
            ["seed", "baseline %", "hardened %"],
            [[n["seed"], share(n["baseline_val"], 2), share(n["hardened_val"], 2)]
             for n in networks],
        ),
    ]  # fmt: skip
