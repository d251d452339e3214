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
"""Samples: of a step, of the splits, of a calibration and of a sequential repair."""
ROWS = (
    ("eFAT-style", "none", "no retraining (FAP)"),
    ("eFAT-style", "fixed", "one amount for all"),
    ("eFAT-style", "individual", "one retraining a chip (Reduce)"),
    ("eFAT-style", "greedy", "**eFAT-style** (greedy)"),
    (
        "eFAT-style",
        "greedy until met",
        "eFAT-style, its curves ended where they meet the constraint",
    ),
    ("eFAT-style", "best", "eFAT-style, planner `best`"),
    ("one-shot", "individual", "remap + compensate, one model a chip"),
    ("one-shot", "greedy", "remap + compensate, greedy"),
    ("one-shot", "best", "**remap + compensate, `best`**"),
    ("sequential", "best", "remap + compensate sequentially, `best`"),
)
HEAD = (
    "", "models", "steps: analysis", "steps: chips", "samples trained", "samples forward",
    "seconds", "of them once", "met val.", "met test", "verified", "mean %", "worst %",
)  # fmt: skip


HEAD_SHORT = (
    "40 chips, mean of three seeds", "models", "steps of retraining", "seconds",
    "chips that meet the constraint on test",
)  # fmt: skip


def read(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def unit_seconds() -> dict[str, float]:
    """Return processor seconds of each part: medians over interleaved rounds, less a bare unit."""
    rounds = defaultdict(list)
    for row in read("costs.csv"):
        rounds[row["what"]].append(float(row["processor_s"]))
    seconds = {what: median(values) for what, values in rounds.items()}
    bare = seconds["unit"]
    return {
        "unit": bare,
        "step": (seconds["96 steps"] - bare) / 96,
        "evaluation": seconds["evaluation"] - bare,
        "one-shot": seconds["one-shot"] - bare,
        "sequential": seconds["sequential"] - bare,
        "calibration": seconds["calibration"],
        "chip": seconds["verification"] / 5,
    }


def cost_of(row: dict[str, str], seconds: dict[str, float]) -> dict[str, float]:
    """Add up what a strategy of one seed cost."""
    n = {name: int(value) for name, value in row.items() if value.isdigit()}
    repair = seconds.get(row["job"], 0.0)
    repairs, passed = n["analysis_repairs"] + n["repairs"], 2 * CALIBRATION
    once = (
        seconds["calibration"] * n["calibrations"]
        + seconds["unit"] * n["analysis_curves"]
        + repair * n["analysis_repairs"]
        + seconds["step"] * n["analysis_steps"]
        + seconds["evaluation"] * n["analysis_points"]
    )
    chips = (
        (seconds["unit"] + repair * bool(repairs)) * n["models"]
        + seconds["step"] * n["retrain_steps"]
        + seconds["chip"] * n["verified_chips"]
    )
    return {
        "trained": BATCH * (n["analysis_steps"] + n["retrain_steps"]),
        "forward": VAL * n["analysis_points"]
        + CALIBRATION * n["calibrations"]
        + (passed * repairs if row["job"] == "sequential" else 0)
        + (VAL + TEST) * n["verified_chips"],
        "seconds": once + chips,
        "once": once,
    }


def rows_of(job: str, strategy: str) -> list[dict[str, str]]:
    """Return the rows of a strategy, one a seed; `until met`: with a shorter analysis."""
    name, ended = strategy.removesuffix(" until met"), strategy.endswith(" until met")
    rows = [r for r in read("results.csv") if (r["job"], r["strategy"]) == (job, name)]
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

    def each(name: str) -> str:
        return " / ".join(row[name] for row in seeds)

    def average(name: str) -> float:
        return mean(cost[name] for cost in costs)

    return [
        label,
        each("models"),
        each("analysis_steps"),
        each("retrain_steps"),
        f"{average('trained'):,.0f}",
        f"{average('forward'):,.0f}",
        f"{average('seconds'):.1f}",
        f"{average('once'):.1f}",
        each("met_val"),
        each("met_test"),
        each("verified"),
        " / ".join(f"{100 * float(row['mean_test']):.2f}" for row in seeds),
        " / ".join(f"{100 * float(row['worst_test']):.2f}" for row in seeds),
    ]


def table() -> str:
    lines = [HEAD, ["---"] * len(HEAD), *(line(*row) for row in ROWS)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def short_table() -> str:
    """Lay out what the project's README shows."""
    rows = (
        ("eFAT-style", "greedy", "eFAT-style: chips merged pair by pair (`planner=greedy`)"),
        (
            "eFAT-style",
            "greedy until met",
            "the same, its analysis cut short as in `resnet_fat_best`",
        ),
        (
            "eFAT-style",
            "best",
            "`+experiment=resnet_fat`: the cheapest plan found (`planner=best`)",
        ),
        ("one-shot", "best", "**`+experiment=resnet_fat_best`**: repair first"),
        ("sequential", "best", "the same, layer by layer (`recipe.mode=sequential`)"),
    )
    lines = [HEAD_SHORT, ["---"] * len(HEAD_SHORT), *(short_line(*row) for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def short_line(job: str, strategy: str, label: str) -> list[str]:
    """Return means over the seeds, and the chips of all seeds that meet the constraint."""
    seeds, seconds = rows_of(job, strategy), unit_seconds()
    met = sum(int(row["met_test"]) for row in seeds)
    chips = sum(int(row["verified_chips"]) for row in seeds)
    return [
        label,
        f"{mean(int(row['models']) for row in seeds):.1f}",
        f"{mean(int(row['retrain_steps']) for row in seeds):,.0f}",
        f"{mean(cost_of(row, seconds)['seconds'] for row in seeds):.1f}",
        f"{met} of {chips}",
    ]


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
    return "\n".join("| " + " | ".join(c) + " |" for c in [head, ["---"] * len(head), *lines])


if __name__ == "__main__":
    print(table(), rates_table(), short_table(), sep="\n\n")
