"""The tables of the record, from its raw rows.

python experiments/2026-11-22-less-retraining-images/table.py
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import mean, median

from efat.metric import ACCURACY
from efat.pages.text import markdown_table
from efat.verification import Verification
from experiments import record_tables as records
from experiments.record_tables import at_amount, by_rate, percent, rate_heads, spread

HERE = Path(__file__).parent
BATCH, CALIBRATION, STEPS = 128, 1024, 32
"""Samples of a step and of a calibration; steps that `costs.csv` times in one unit."""
CIFAR10, CURVES_BEFORE = "cifar10", "2026-11-22-cifar10-resnet20"
VAL = {"cifar10": 2000, "resnet8": 2000, "mlp": 5000}
LABELS = {
    ("eFAT-style", "none"): "no retraining (FAP)",
    ("eFAT-style", "planned"): "**eFAT-style** (greedy)",
    ("eFAT-style", "until met"): "eFAT-style, its curves ended where they meet the constraint",
    ("recalibrate", "each"): "BatchNorm re-estimated, one model a chip",
    ("compensate", "each"): "compensate, one model a chip",
    ("remap + compensate", "each"): "**remap + compensate, one model a chip**",
    ("remap + compensate", "planned"): "remap + compensate, analysis and `best`",
}
HEAD = (
    "", "models", "steps: analysis", "steps: chips", "samples trained", "samples forward",
    "seconds", "of them once", "verification", "chips measured", "met val.", "met test",
    "verified", "mean %", "worst %",
)  # fmt: skip
Row = dict[str, str]


@cache
def read(name: str) -> list[Row]:
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def of(name: str, **wanted: str) -> list[Row]:
    """Return the rows of a file that have these values."""
    return [row for row in read(name) if all(row[key] == value for key, value in wanted.items())]


def network(setting: str) -> str:
    """Return the setting without its fleet."""
    return setting.split()[0]


def unit_seconds(setting: str) -> dict[str, float]:
    """Return processor seconds of each part: medians over interleaved rounds, less a bare unit."""
    rounds = defaultdict(list)
    for row in of("costs.csv", setting=network(setting)):
        rounds[row["what"]].append(float(row["processor_s"]))
    seconds = {what: median(values) for what, values in rounds.items()}
    bare = {"unit", "calibration", "verification"}
    seconds |= {what: s - seconds["unit"] for what, s in seconds.items() if what not in bare}
    return seconds | {"step": seconds["steps"] / STEPS}


def analysis(setting: str, job: str, until_met: bool) -> dict[str, int]:
    """Count the curves of a job, their points and steps; `until_met`: cut where they first meet."""
    base = of("baselines.csv", setting=setting)[0]
    target = float(base["val"]) - float(base["max_drop"])
    by_map: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in of("curves.csv", setting=setting, job=job):
        by_map[row["fault_rate"], row["repeat"]].append(row)
    counts = {"curves": len(by_map), "points": 0, "steps": 0}
    for rows in by_map.values():
        met = [float(row["val"]) >= target for row in rows]
        last = met.index(True) if until_met and any(met) else len(rows) - 1
        counts["points"] += last + 1
        counts["steps"] += int(rows[last]["amount_steps"])
    return counts


def cost(setting: str, job: str, strategy: str) -> dict[str, float]:
    """Add up what serving the whole fleet costs: counts times what each part took."""
    seconds, base = unit_seconds(setting), of("baselines.csv", setting=setting)[0]
    (result,) = of("results.csv", setting=setting, job=job, strategy=stored(strategy))
    chips, repair = int(base["chips"]), seconds.get(job, 0.0)
    curves = {"curves": 0, "points": 0, "steps": 0}
    if stored(strategy) == "planned":
        curves = analysis(setting, job, until_met=strategy == "until met")
    models = chips if strategy == "each" else int(result["models"])
    grams = "compensate" in job
    once = seconds["calibration"] * grams + (seconds["unit"] + repair) * curves["curves"]
    once += seconds["step"] * curves["steps"] + seconds["evaluation"] * curves["points"]
    steps = int(result["retrain_steps"])
    spent = (seconds["unit"] + repair) * models + seconds["step"] * steps
    verified = seconds["verification"] * chips
    repairs = (models + curves["curves"]) * (job == "recalibrate")
    measured = VAL[network(setting)] + int(base["test_samples"])
    return {
        "models": models, "analysis": curves["steps"], "chips": steps,
        "trained": BATCH * (curves["steps"] + steps),
        "forward": VAL[network(setting)] * curves["points"] + CALIBRATION * (grams + repairs)
        + measured * chips,
        "seconds": once + spent + verified, "once": once, "verification": verified,
    }  # fmt: skip


def stored(strategy: str) -> str:
    """Return the strategy that a row of the table was measured as."""
    return "planned" if strategy == "until met" else strategy


def outcome(setting: str, job: str, strategy: str) -> dict[str, float]:
    """Count chips that meet the constraint, of those that were measured."""
    base = of("baselines.csv", setting=setting)[0]
    limit = {split: float(base[split]) - float(base["max_drop"]) for split in ("val", "test")}
    judge = Verification(ACCURACY, int(base["test_samples"]), 0.95)
    chips = of("chips.csv", setting=setting, job=job, strategy=stored(strategy))
    tests = [float(row["test"]) for row in chips]
    found = [judge.judge(test, limit["test"]).status for test in tests]
    return {
        "measured": len(chips),
        "met_val": sum(float(row["val"]) >= limit["val"] for row in chips),
        "met_test": len(found) - found.count("short"),
        "verified": found.count("verified"),
        "mean": 100 * mean(tests), "worst": 100 * min(tests),
    }  # fmt: skip


def table(setting: str) -> str:
    """Lay out what each strategy costs and reaches in a setting."""
    lines = []
    for (job, strategy), label in LABELS.items():
        if not of("results.csv", setting=setting, job=job, strategy=stored(strategy)):
            continue
        c, o = cost(setting, job, strategy), outcome(setting, job, strategy)
        lines.append([
            label, f"{c['models']}", f"{c['analysis']:,}", f"{c['chips']:,}", f"{c['trained']:,}",
            f"{c['forward']:,}", f"{c['seconds']:,.0f}", f"{c['once']:,.0f}",
            f"{c['verification']:,.0f}", f"{o['measured']}", f"{o['met_val']}",
            f"{o['met_test']}", f"{o['verified']}", f"{o['mean']:.2f}", f"{o['worst']:.2f}",
        ])  # fmt: skip
    return markdown_table(HEAD, lines)


def curves_table(setting: str, jobs: Sequence[str]) -> str:
    """Lay out validation accuracy by fault rate: what is reached after how many steps."""
    rows = [row for job in jobs for row in of("curves.csv", setting=setting, job=job)]
    rates = sorted({float(row["fault_rate"]) for row in rows})
    kinds = dict.fromkeys((row["job"].split(",")[0], int(row["amount_steps"])) for row in rows)
    found: dict[tuple[str, int, float], dict[str, float]] = defaultdict(dict)
    for row in rows:  # a map that two jobs measured counts once
        place = row["job"].split(",")[0], int(row["amount_steps"]), float(row["fault_rate"])
        found[place][row["repeat"]] = float(row["val"])
    lines = [
        [f"{job}, {steps} steps",
         *(spread(v.values()) if (v := found.get((job, steps, r))) else "" for r in rates)]
        for job, steps in sorted(kinds)
    ]  # fmt: skip
    before = at_amount(records.read(CURVES_BEFORE, "results.csv"), "64x64 retrained", 64)
    earlier = dict(zip(rate_heads(before), by_rate(before, "val_metric"), strict=True))
    lines.insert(0, ["retrained at 0.01, 64 steps (5 maps, earlier record)",
                     *(earlier.get(percent(rate), "") for rate in rates)])  # fmt: skip
    return markdown_table(["", *map(percent, rates)], lines)


def plans_table() -> str:
    """Lay out what eFAT-style grouping would plan and cost under looser constraints."""
    setting, lines = CIFAR10, []
    seconds = unit_seconds(setting)
    base = cost(setting, "eFAT-style", "planned")
    repaired = cost(setting, "remap + compensate", "each")
    for row in of("plans.csv", setting=setting):
        models, steps = int(row["models"]), int(row["steps"])
        spent = base["once"] + seconds["unit"] * models + seconds["step"] * steps
        bare = repaired["seconds"] - repaired["verification"]
        lines.append([
            f"{100 * float(row['max_drop']):.0f}", f"{100 * float(row['highest_rate']):.0f} %",
            row["served"], row["models"], f"{steps:,}", f"{spent:,.0f}",
            f"{spent + base['verification']:,.0f}", f"{bare / spent:.2f}",
            f"{repaired['seconds'] / (spent + base['verification']):.2f}",
        ])  # fmt: skip
    head = ("points below the baseline", "map ends at", "chips served of 100", "models", "steps",
            "seconds without verification", "with", "repair over eFAT-style, without", "with",
    )  # fmt: skip
    return markdown_table(head, lines)


def rates_table() -> str:
    """Lay out validation accuracy by learning rate of the retraining: one map a rate."""
    rows = read("rates.csv")
    steps = sorted({int(row["amount_steps"]) for row in rows})
    found = {(r["lr"], r["fault_rate"], int(r["amount_steps"])): r["val"] for r in rows}
    lines = [
        [f"{percent(float(rate))}, {lr}",
         *(f"{100 * float(found[lr, rate, step]):.1f}" for step in steps)]
        for rate, lr in sorted({(row["fault_rate"], row["lr"]) for row in rows})
    ]  # fmt: skip
    return markdown_table(["", *(f"{step} steps" for step in steps)], lines)


def fleets_table() -> str:
    """Lay out what repairing a fleet took."""
    lines = []
    for row in read("fleets.csv"):
        key = {name: row[name] for name in ("recipe", "chips", "workers")}
        each = [float(chip["repair_s"]) for chip in of("fleet_chips.csv", **key)]
        wall_s, processor_s = float(row["wall_s"]), float(row["processor_s"])
        lines.append([
            row["recipe"], row["chips"], row["workers"], f"{wall_s:.0f}",
            f"{processor_s / len(each):.2f}", f"{min(each):.2f}-{max(each):.2f}",
            f"{1000 * processor_s / len(each) / 60:.1f}",
        ])  # fmt: skip
    head = ("recipe", "chips", "processes", "wall seconds", "processor seconds a chip",
            "repair alone, wall seconds", "1,000 chips, core minutes")  # fmt: skip
    return markdown_table(head, lines)


def tables() -> list[str]:
    """Return all tables of the page."""
    settings = sorted({row["setting"] for row in read("results.csv")})
    curves = list(dict.fromkeys(row["job"] for row in of("curves.csv", setting=CIFAR10)))
    return [
        *map(table, settings), plans_table(), curves_table(CIFAR10, curves), rates_table(),
        fleets_table(),
    ]  # fmt: skip


if __name__ == "__main__":
    print(*tables(), sep="\n\n")
