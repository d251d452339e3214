"""What the strategies of the record cost, counted from its raw rows."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path
from statistics import median

from experiments.records import Row, read, where

HERE = Path(__file__).parent
BATCH, VAL, TEST, CALIBRATION = 32, 359, 359, 1024
"""Samples: of a step, of the splits, of a calibration and of a repair that passes them."""
PASSED = {"sequential": 2 * CALIBRATION, "recalibrate": CALIBRATION}
"""Samples forward in a repair; the others pass none. A sequential one runs two networks."""
MAIN = "uniform-40"
ROWS = (
    ("eFAT-style", "none", "no retraining (FAP)"),
    ("eFAT-style", "fixed", "one amount for all"),
    ("eFAT-style", "individual", "one retraining per chip (Reduce)"),
    ("eFAT-style", "early_stop", "one per chip until it meets the constraint (early stopping)"),
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
    ("one-shot", "individual", "remap + compensate, one model per chip"),
    ("one-shot", "early_stop", "**remap + compensate, one per chip until met** (no analysis)"),
    ("one-shot", "no_remap", "the same without remap (`no_remap`)"),
    ("one-shot", "greedy", "remap + compensate, greedy"),
    ("one-shot", "min_cost", "remap + compensate, `min_cost`"),
    ("one-shot-top-up", "min_cost", "the same, topped up"),
    ("rows", "min_cost", "remap rows and columns + compensate, `min_cost`"),
    ("sequential", "min_cost", "remap + compensate sequentially, `min_cost`"),
)


@cache
def unit_seconds(name: str = "costs.csv") -> dict[str, float]:
    """Return processor seconds of each part, less a bare unit: medians of interleaved rounds."""
    rounds = defaultdict(list)
    for row in read(HERE / name):
        rounds[row["what"]].append(float(row["processor_s"]))
    seconds = {what: median(values) for what, values in rounds.items()}
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


def cost_of(row: Row, seconds: dict[str, float]) -> dict[str, float]:
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


def rows_of(job: str, strategy: str, fleet: str = MAIN, file: str = "results.csv") -> list[Row]:
    """Return the rows of a strategy, one per seed; `until met`: with a shorter analysis."""
    name, ended = strategy.removesuffix(" until met"), strategy.endswith(" until met")
    rows = where(read(HERE / file), fleet=fleet, job=job, strategy=name)
    if not ended:
        return rows
    return [
        {**row, "analysis_points": row["ended_points"], "analysis_steps": row["ended_steps"]}
        for row in rows
    ]
