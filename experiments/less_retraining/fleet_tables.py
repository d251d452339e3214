"""The tables of the record by fleet, from its raw rows.

python experiments/2026-11-22-less-retraining/fleet_tables.py
"""

from __future__ import annotations

from statistics import mean

from table import cost_of, each, each_percent, markdown, rows_of, unit_seconds

FLEETS = {
    "uniform-40": "40 uniform",
    "uniform-100": "100 uniform, 1-20 %",
    "uniform-1000": "1,000 uniform",
    "clustered-40": "40 clustered",
    "clustered-1000": "1,000 clustered",
}
FLEET_ROWS = (
    ("eFAT-style", "none", "no retraining"),
    ("eFAT-style", "early_stop", "early stopping"),
    ("eFAT-style", "greedy", "eFAT-style"),
    ("eFAT-style", "greedy until met", "eFAT-style, curves ended"),
    ("eFAT-style", "min_cost until met", "`min_cost`, curves ended"),
    ("one-shot", "early_stop", "remap + compensate, one model a chip, no analysis"),
    ("one-shot", "min_cost", "remap + compensate, `min_cost`"),
)


def fleet_table() -> str:
    """Lay out the strategies by fleet, planning counted, and their share of eFAT-style's cost."""
    head = [
        "chips", "", "models", "steps: analysis", "steps: chips", "seconds", "of them planning",
        "of eFAT-style's", "met val.", "met test", "mean %", "worst %",
    ]  # fmt: skip
    lines = [
        fleet_line(fleet, label, *row)
        for fleet, label in FLEETS.items()
        for row in FLEET_ROWS
        if rows_of("eFAT-style", "greedy", fleet) and rows_of(*row[:2], fleet)
    ]
    return markdown([head, *lines])


def fleet_line(fleet: str, chips: str, job: str, strategy: str, label: str) -> list[str]:
    """Lay out a strategy."""
    seeds = rows_of(job, strategy, fleet)
    whole, ended = (fleet_seconds(fleet, "eFAT-style", f"greedy{s}") for s in ("", " until met"))
    took = fleet_seconds(fleet, job, strategy)
    return [
        chips, label, each(seeds, "models"), each(seeds, "analysis_steps"),
        each(seeds, "retrain_steps"), f"{took:,.1f}",
        f"{planning_seconds(seeds):,.1f}",
        f"{took / whole:.2f} / {took / ended:.2f}",
        each(seeds, "met_val"), each(seeds, "met_test"),
        each_percent(seeds, "mean_test"), each_percent(seeds, "worst_test"),
    ]  # fmt: skip


def fleet_seconds(fleet: str, job: str, strategy: str) -> float:
    """Return the mean seconds of a strategy in a fleet, planning included."""
    seconds, rows = unit_seconds(), rows_of(job, strategy, fleet)
    return mean(cost_of(row, seconds)["seconds"] for row in rows) + planning_seconds(rows)


def aim_table() -> str:
    """Lay out the seconds of both sides by fleet, seed 0, planning counted."""
    head = [
        "uniform chips", "eFAT-style, s", "curves ended, s", "remap + compensate, s",
        "of eFAT-style's", "one model a chip, no analysis, s", "of eFAT-style's",
    ]  # fmt: skip
    lines = []
    for fleet, chips in (
        ("uniform-40", "40 of 1-25 %"), ("uniform-100", "100 of 1-20 %"),
        ("uniform-1000", "1,000 of 1-25 %"),
    ):  # fmt: skip
        whole, ended, repaired, alone = (
            seconds_once(fleet, job, strategy)
            for job, strategy in (
                ("eFAT-style", "greedy"), ("eFAT-style", "greedy until met"),
                ("one-shot", "min_cost"), ("one-shot", "early_stop"),
            )
        )  # fmt: skip
        took = (f"{value:,.0f}" for value in (whole, ended))
        shares = (f"{of / whole:.2f} / {of / ended:.2f}" for of in (repaired, alone))
        lines.append(
            [chips, *took, f"{repaired:,.0f}", next(shares), f"{alone:,.0f}", next(shares)]
        )
    return markdown([head, *lines])


def seconds_once(fleet: str, job: str, strategy: str) -> float:
    """Return the seconds of a strategy in a fleet, seed 0, planning included."""
    row = rows_of(job, strategy, fleet)[0]
    return cost_of(row, unit_seconds())["seconds"] + planning_seconds([row])


def planning_seconds(seeds: list[dict[str, str]]) -> float:
    """Return the mean processor seconds of planning, of the runs that took them."""
    took = [float(row["planning_s"]) for row in seeds if row["planning_s"]]
    return mean(took) if took else 0.0


if __name__ == "__main__":
    print(fleet_table(), aim_table(), sep="\n\n")
