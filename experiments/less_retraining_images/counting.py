"""What the strategies of the study cost and reach, counted from its raw rows."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean, median

from efat.resilience import ACCURACY, Verification
from experiments.records import Row, read, where

HERE = Path(__file__).parent
BATCH, CALIBRATION, STEPS = 128, 1024, 32
"""Samples of a step and of a calibration; steps that `costs.csv` times in one unit."""
VAL = defaultdict(lambda: 2000, {"mlp": 5000})
"""Images of the validation split, by network."""
EVERY = defaultdict(lambda: 32, {"resnet8": 48, "mlp": 39})
AFTER_REPAIR = defaultdict(lambda: 16, {"mlp": 39})
"""Steps between evaluations of early stopping, by network: those of `settings.py`."""


def of(name: str, **wanted: str) -> list[Row]:
    """Return the rows of a file that have these values."""
    return where(read(HERE / name), **wanted)


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
    seconds["harden + recalibrate"] = seconds.get("recalibrate", 0.0)
    seconds["hardening step"] = seconds.get("hardening", 0.0) / STEPS
    return seconds | {"step": seconds["steps"] / STEPS}


def limits(setting: str) -> dict[str, float]:
    """Return the accuracy to reach on each split; accuracies are stored with six digits."""
    base = of("baselines.csv", setting=setting)[0]
    return {s: round(float(base[s]) - float(base["max_drop"]), 6) for s in ("val", "test")}


def result(setting: str, job: str, strategy: str) -> Row | None:
    """Return what a strategy makes of the fleet: as trained, else as planned from the curves."""
    if found := of("results.csv", setting=setting, job=job, strategy=stored(strategy)):
        return found[0]
    drop = of("baselines.csv", setting=setting)[0]["max_drop"]
    plans = of("plans.csv", setting=setting, job=job, strategy=strategy, max_drop=drop)
    return {"models": plans[0]["models"], "retrain_steps": plans[0]["steps"]} if plans else None


def served(setting: str, job: str, strategy: str) -> list[Row]:
    """Return the chips that were measured; those that are masked only where a plan is empty."""
    chips = of("chips.csv.gz", setting=setting, job=job, strategy=stored(strategy))
    if chips or (result(setting, job, strategy) or {}).get("models") != "0":
        return chips
    return of("chips.csv.gz", setting=setting, job=job, strategy="none")


def stored(strategy: str) -> str:
    """Return the strategy that a row of the table was measured as."""
    return "planned" if strategy == "until met" else strategy


def curves_of(setting: str, job: str) -> list[list[Row]]:
    """Return the recorded points of every map of a job; they do not depend on the fleet."""
    by_map: dict[tuple[str, str], list[Row]] = defaultdict(list)
    same = (of("curves.csv", setting=name, job=job) for name in (setting, network(setting)))
    for row in next(filter(None, same), []):
        by_map[row["fault_rate"], row["repeat"]].append(row)
    return list(by_map.values())


def analysis(setting: str, job: str, until_met: bool) -> dict[str, float]:
    """Count the curves of a job, their points and steps; `until_met`: cut where they first meet."""
    target, curves = limits(setting)["val"], curves_of(setting, job)
    counts = {"curves": len(curves), "points": 0, "steps": 0}
    for rows in curves:
        met = [float(row["val"]) >= target for row in rows]
        last = met.index(True) if until_met and any(met) else len(rows) - 1
        counts["points"] += last + 1
        counts["steps"] += int(rows[last]["amount_steps"])
    return counts


def early_stops(setting: str, job: str, chips: int) -> dict[str, float]:
    """Return steps and evaluations of early stopping: of the chips measured, scaled to all."""
    rows = of("chips.csv.gz", setting=setting, job=job, strategy="early_stop")
    every = (EVERY if job == "eFAT-style" else AFTER_REPAIR)[network(setting)]
    steps = [int(row["amount_steps"]) for row in rows]
    whole = chips / len(rows)
    return {
        "steps": round(whole * sum(steps)),
        "points": round(whole * sum(step // every + 1 for step in steps)),
    }


def cost(setting: str, job: str, strategy: str) -> dict[str, float]:
    """Add up what serving the whole fleet costs: counts times what each part took."""
    seconds, base = unit_seconds(setting), of("baselines.csv", setting=setting)[0]
    found = result(setting, job, strategy) or {}
    chips, repair = int(base["chips"]), seconds.get(job, 0.0)
    curves: dict[str, float] = {"curves": 0, "points": 0, "steps": 0}
    after: dict[str, float] = {"steps": int(found["retrain_steps"]), "points": 0}
    if strategy == "early_stop":
        after = early_stops(setting, job, chips)
    elif strategy not in ("none", "each"):
        curves = analysis(setting, job, until_met=strategy == "until met")
    models = chips if strategy in ("each", "early_stop") else int(found["models"])
    hardening = int(found.get("hardening_steps") or 0)
    grams = "compensate" in job or "remap" in job
    once = seconds["calibration"] * grams + (seconds["unit"] + repair) * curves["curves"]
    once += seconds["hardening step"] * hardening
    once += seconds["step"] * curves["steps"] + seconds["evaluation"] * curves["points"]
    spent = (seconds["unit"] + repair) * models + seconds["step"] * after["steps"]
    spent += seconds["evaluation"] * after["points"]
    verified = seconds["verification"] * chips
    passes = 2 * job.endswith("sequential") + job.endswith("recalibrate")
    repairs = (models + curves["curves"]) * passes
    val = VAL[network(setting)]
    return {
        "models": models, "analysis": curves["steps"] + hardening, "chips": after["steps"],
        "trained": BATCH * (curves["steps"] + hardening + after["steps"]),
        "forward": val * (curves["points"] + after["points"]) + CALIBRATION * (grams + repairs)
        + (val + int(base["test_samples"])) * chips,
        "seconds": once + spent + verified, "once": once, "verification": verified,
    }  # fmt: skip


def outcome(setting: str, job: str, strategy: str) -> dict[str, float] | None:
    """Count chips that meet the constraint, of those that were measured; None where none was."""
    limit, chips = limits(setting), served(setting, job, strategy)
    if not chips:
        return None
    samples = int(of("baselines.csv", setting=setting)[0]["test_samples"])
    judge = Verification(ACCURACY, samples, 0.95)
    tests = [float(row["test"]) for row in chips]
    verdicts = [judge.judge(test, limit["test"]).verdict for test in tests]
    return {
        "measured": len(chips),
        "met_val": sum(float(row["val"]) >= limit["val"] for row in chips),
        "met_test": len(verdicts) - verdicts.count("fail"),
        "certified": verdicts.count("certified"),
        "mean": 100 * mean(tests), "worst": 100 * min(tests),
    }  # fmt: skip
