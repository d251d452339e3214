"""The tables of the record by fleet, from its raw rows.

python experiments/2026-11-22-less-retraining/fleet_tables.py
"""

from __future__ import annotations

from statistics import mean

from table import MAIN, cost_of, each, each_percent, markdown, rows_of, unit_seconds

FLEETS = {
    "uniform-40": "40 uniform",
    "uniform-100": "100 uniform",
    "uniform-1000": "1,000 uniform",
    "clustered-40": "40 clustered",
    "clustered-1000": "1,000 clustered",
}
FLEET_ROWS = (
    ("eFAT-style", "none", "no retraining"),
    ("eFAT-style", "early_stop", "early stopping"),
    ("eFAT-style", "greedy", "eFAT-style"),
    ("eFAT-style", "greedy until met", "eFAT-style, curves ended"),
    ("eFAT-style", "best until met", "`best`, curves ended"),
    ("one-shot", "best", "**remap + compensate**"),
)


def fleet_table() -> str:
    """Lay out the strategies by fleet, planning counted, and their share of eFAT-style's cost."""
    head = [
        "chips", "", "models", "steps: analysis", "steps: chips", "seconds", "of them planning",
        "of eFAT-style's", "measured", "met val.", "met test", "mean %", "worst %",
    ]  # fmt: skip
    lines = [
        fleet_line(fleet, label, *row)
        for fleet, label in FLEETS.items()
        for row in FLEET_ROWS
        if rows_of("eFAT-style", "greedy", fleet) and rows_of(*row[:2], fleet)
    ]
    return markdown([head, *lines])


def fleet_line(fleet: str, chips: str, job: str, strategy: str, label: str) -> list[str]:
    """Lay out a strategy; accuracies are of the chips measured."""
    seeds = rows_of(job, strategy, fleet)
    whole, ended = (fleet_seconds(fleet, "eFAT-style", f"greedy{s}") for s in ("", " until met"))
    took = fleet_seconds(fleet, job, strategy)
    return [
        chips, label, each(seeds, "models"), each(seeds, "analysis_steps"),
        each(seeds, "retrain_steps"), f"{took:,.1f}",
        f"{planning_seconds(seeds):,.1f}",
        f"{took / whole:.2f} / {took / ended:.2f}", seeds[0]["measured_chips"],
        each(seeds, "met_val"), each(seeds, "met_test"), each_percent(seeds, "mean_test"),
        each_percent(seeds, "worst_test"),
    ]  # fmt: skip


def fleet_seconds(fleet: str, job: str, strategy: str) -> float:
    """Return the mean seconds of a strategy in a fleet, planning included."""
    seconds, rows = unit_seconds(), rows_of(job, strategy, fleet)
    return mean(cost_of(row, seconds)["seconds"] for row in rows) + planning_seconds(rows)


def aim_table() -> str:
    """Lay out the seconds of both sides by fleet size, seed 0, planning counted.

    100 chips are on the line between 40 and 1,000. One model a chip needs no plan: its seconds
    are those of 40 chips, scaled.
    """
    head = [
        "chips", "eFAT-style, s", "curves ended, s", "remap + compensate, s", "of eFAT-style's",
        "one model a chip, no analysis, s", "of eFAT-style's",
    ]  # fmt: skip
    lines = []
    for chips in (40, 100, 1000):
        whole, ended, repaired = (
            seconds_between(chips, job, strategy)
            for job, strategy in (
                ("eFAT-style", "greedy"), ("eFAT-style", "greedy until met"), ("one-shot", "best"),
            )
        )  # fmt: skip
        alone = seconds_alone(chips)
        took = (f"{value:,.0f}" for value in (whole, ended))
        shares = (f"{of / whole:.2f} / {of / ended:.2f}" for of in (repaired, alone))
        lines.append(
            [f"{chips:,}", *took, f"{repaired:,.0f}", next(shares), f"{alone:,.0f}", next(shares)]
        )
    return markdown([head, *lines])


def seconds_between(chips: int, job: str, strategy: str) -> float:
    """Return the seconds of seed 0 on the line between 40 and 1,000 uniform chips."""
    seconds, found = unit_seconds(), []
    for fleet in (MAIN, "uniform-1000"):
        row = rows_of(job, strategy, fleet)[0]
        found.append(cost_of(row, seconds)["seconds"] + planning_seconds([row]))
    return found[0] + (found[1] - found[0]) * (chips - 40) / (1000 - 40)


def seconds_alone(chips: int) -> float:
    """Return the seconds of one repaired model a chip without an analysis, seed 0."""
    row = rows_of("one-shot", "early_stop")[0]
    of_chips = ("models", "repairs", "evaluations", "verified_chips")
    scaled = {name: str(int(row[name]) * chips // 40) for name in of_chips}
    return cost_of(row | scaled, unit_seconds())["seconds"]


def planning_seconds(seeds: list[dict[str, str]]) -> float:
    """Return the mean processor seconds of planning, of the runs that took them."""
    took = [float(row["planning_s"]) for row in seeds if row["planning_s"]]
    return mean(took) if took else 0.0


if __name__ == "__main__":
    print(fleet_table(), aim_table(), sep="\n\n")
