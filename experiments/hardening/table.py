"""Accuracy and maps that meet the constraint, a recipe a row, and the networks; from raw rows.

python experiments/2026-11-22-hardening/table.py
"""

from __future__ import annotations

from pathlib import Path

from efat.reporting.html.report_markdown import markdown_table
from experiments.record_tables import Lines, percent, print_tables, read, spread


def tables() -> list[Lines]:
    """Return all tables of the page, as lines."""
    record = Path(__file__).parent.name
    rows = read(record, "results.csv")

    def cell(recipe: str, rate: str) -> str:
        found = [row for row in rows if (row["recipe"], row["fault_rate"]) == (recipe, rate)]
        met = sum(row["met"] == "True" for row in found)
        return f"{spread([float(row['val']) for row in found])}: {met} of {len(found)}"

    recipes, rates = (dict.fromkeys(row[name] for row in rows) for name in ("recipe", "fault_rate"))
    table = [[recipe, *(cell(recipe, rate) for rate in rates)] for recipe in recipes]
    networks = [
        [
            n["seed"],
            f"{100 * float(n['baseline_val']):.2f}",
            f"{100 * float(n['hardened_val']):.2f}",
        ]
        for n in read(record, "networks.csv")
    ]
    heads = ["recipe", *(percent(float(rate)) for rate in rates)]
    names = ["seed", "baseline %", "hardened %"]
    return [
        markdown_table(head, body).splitlines()
        for head, body in ((heads, table), (names, networks))
    ]


if __name__ == "__main__":
    print_tables(tables())
