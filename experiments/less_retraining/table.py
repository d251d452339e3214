"""The tables of the record, from its raw rows.

python experiments/2026-11-22-less-retraining/table.py
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from statistics import mean, median

HERE = Path(__file__).parent
BATCH, VAL, TEST, CALIBRATION = 32, 359, 359, 1024
"""Samples: of a step, of the splits, of a calibration and of a repair that passes them."""
PASSED = {"sequential": 2 * CALIBRATION, "recalibrate": CALIBRATION}
"""Samples forward in a repair; the others pass none. A sequential one runs two networks."""
MAIN = "uniform-40"
ROWS = (
    ("eFAT-style", "none", "no retraining (FAP)"),
    ("eFAT-style", "fixed", "one amount for all"),
    ("eFAT-style", "individual", "one retraining a chip (Reduce)"),
    ("eFAT-style", "early_stop", "one a chip until it meets the constraint (early stopping)"),
    ("eFAT-style", "greedy", "**eFAT-style** (greedy)"),
    (
        "eFAT-style",
        "greedy until met",
        "eFAT-style, its curves ended where they meet the constraint",
    ),
    ("eFAT-style-top-up", "greedy until met", "the same, topped up"),
    ("gradual", "greedy", "the same, faults injected gradually"),
    ("eFAT-style", "min_cost", "eFAT-style, planner `min_cost`"),
    ("eFAT-style-top-up", "min_cost until met", "`min_cost`, curves ended, topped up"),
    ("gradual", "min_cost", "`min_cost`, curves ended, faults injected gradually"),
    ("recalibrate", "min_cost", "recalibrate, `min_cost`"),
    ("harden", "min_cost", "harden + recalibrate, `min_cost`"),
    ("compensate", "min_cost", "compensate, `min_cost`"),
    ("remap", "min_cost", "remap, `min_cost`"),
    ("one-shot", "individual", "remap + compensate, one model a chip"),
    ("one-shot", "early_stop", "**remap + compensate, one a chip until met** (no analysis)"),
    ("one-shot", "no_remap", "the same without remap (`no_remap`)"),
    ("one-shot", "greedy", "remap + compensate, greedy"),
    ("one-shot", "min_cost", "remap + compensate, `min_cost`"),
    ("one-shot-top-up", "min_cost", "the same, topped up"),
    ("rows", "min_cost", "remap rows and columns + compensate, `min_cost`"),
    ("sequential", "min_cost", "remap + compensate sequentially, `min_cost`"),
)
HEAD = (
    "", "models", "steps: analysis", "steps: chips", "samples trained", "samples forward",
    "seconds", "of them once", "met val.", "met test", "verified", "mean %", "worst %",
)  # fmt: skip


def read(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def medians(name: str) -> dict[str, float]:
    """Return processor seconds of each timed part: medians over interleaved rounds."""
    rounds = defaultdict(list)
    for row in read(name):
        rounds[row["what"]].append(float(row["processor_s"]))
    return {what: median(values) for what, values in rounds.items()}


def unit_seconds(name: str = "costs.csv") -> dict[str, float]:
    """Return processor seconds of each part, less a bare unit."""
    seconds = medians(name)
    bare = seconds["unit"]
    repairs = ("one-shot", "sequential", "rows", "compensate", "recalibrate")
    return {
        "unit": bare,
        "step": (seconds["96 steps"] - bare) / 96,
        "evaluation": seconds["evaluation"] - bare,
        **{name: seconds[name] - bare for name in repairs},
        "hardening": (seconds["96 steps of hardening"] - bare) / 96,
        "calibration": seconds["calibration"],
        "chip": seconds["verification"] / 5,
    }


def cost_of(row: dict[str, str], seconds: dict[str, float]) -> dict[str, float]:
    """Add up what a strategy of one seed cost."""
    n = {name: int(value) for name, value in row.items() if value.isdigit()}
    repair = seconds[row["repair"]] if row["repair"] else 0.0
    repairs = n["analysis_repairs"] + n["repairs"]
    once = (
        seconds["hardening"] * n["hardening_steps"]
        + seconds["calibration"] * n["calibrations"]
        + seconds["unit"] * n["analysis_curves"]
        + repair * n["analysis_repairs"]
        + seconds["step"] * n["analysis_steps"]
        + seconds["evaluation"] * n["analysis_points"]
    )
    chips = (
        seconds["unit"] * n["models"]
        + repair * n["repairs"]
        + seconds["step"] * n["retrain_steps"]
        + seconds["evaluation"] * n["evaluations"]
        + seconds["chip"] * n["chips"]
    )
    return {
        "trained": BATCH * (n["hardening_steps"] + n["analysis_steps"] + n["retrain_steps"]),
        "forward": VAL * (n["analysis_points"] + n["evaluations"])
        + CALIBRATION * n["calibrations"]
        + PASSED.get(row["repair"], 0) * repairs
        + (VAL + TEST) * n["chips"],
        "seconds": once + chips,
        "once": once,
    }


def rows_of(
    job: str, strategy: str, fleet: str = MAIN, file: str = "results.csv"
) -> list[dict[str, str]]:
    """Return the rows of a strategy, one a seed; `until met`: with a shorter analysis."""
    name, ended = strategy.removesuffix(" until met"), strategy.endswith(" until met")
    wanted = (fleet, job, name)
    rows = [r for r in read(file) if (r["fleet"], r["job"], r["strategy"]) == wanted]
    if not ended:
        return rows
    return [
        row | {"analysis_points": row["ended_points"], "analysis_steps": row["ended_steps"]}
        for row in rows
    ]


def line(job: str, strategy: str, label: str) -> list[str]:
    seeds = rows_of(job, strategy)
    seconds = unit_seconds()
    costs = [cost_of(row, seconds) for row in seeds]

    def average(name: str) -> float:
        return mean(cost[name] for cost in costs)

    return [
        label + missing(seeds),
        each(seeds, "models"),
        each(seeds, "analysis_steps"),
        each(seeds, "retrain_steps"),
        f"{average('trained'):,.0f}",
        f"{average('forward'):,.0f}",
        f"{average('seconds'):.1f}",
        f"{average('once'):.1f}",
        each(seeds, "met_val"),
        each(seeds, "met_test"),
        each(seeds, "verified"),
        each_percent(seeds, "mean_test"),
        each_percent(seeds, "worst_test"),
    ]


def missing(seeds: list[dict[str, str]]) -> str:
    """Name the seeds that a strategy was run for, where they are not all three."""
    found = ", ".join(row["seed"] for row in seeds)
    return "" if len(seeds) == 3 else f" (seed{'s' * (len(seeds) > 1)} {found})"


def each(seeds: list[dict[str, str]], name: str) -> str:
    return " / ".join(row[name] for row in seeds)


def each_percent(seeds: list[dict[str, str]], name: str) -> str:
    return " / ".join(f"{100 * float(row[name]):.2f}" for row in seeds)


def markdown(lines: list[list[str]]) -> str:
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def table() -> str:
    return markdown([list(HEAD), *(line(*row) for row in ROWS if rows_of(*row[:2]))])


def rates_table() -> str:
    """Lay out the mean validation accuracy after a repair, by way to retrain and steps."""
    points = defaultdict(list)
    for row in read("rates.csv"):
        key = row["batch_norm"], row["lr"], row["fault_rate"], int(row["amount_steps"])
        points[key].append(100 * float(row["val_metric"]))
    steps = (0, 8, 16, 32, 64)
    head = ["BatchNorm, rate", *(f"{rate} %, {s} steps" for rate in (40, 50) for s in steps)]
    ways = dict.fromkeys(key[:2] for key in points)
    lines = [
        [
            f"{norm}, {lr}",
            *(f"{mean(points[norm, lr, r, s]):.2f}" for r in ("0.4", "0.5") for s in steps),
        ]
        for norm, lr in ways
    ]
    return markdown([head, *lines])


if __name__ == "__main__":
    print(table(), rates_table(), sep="\n\n")
