"""The tables of the record, from its raw rows."""

from __future__ import annotations

from collections import defaultdict

from experiments.less_retraining_images.counting import (
    HERE,
    analysis,
    cost,
    of,
    outcome,
    result,
    unit_seconds,
)
from experiments.records import (
    at_amount,
    by_rate,
    markdown,
    percent,
    rate_heads,
    read,
    spread,
)

CIFAR10 = "cifar10"
ARRAYS = {"cifar10": "64x64", "cifar10-256": "256x256"}
"""Of ResNet-20, whose curves of retraining at 0.01 are in the record before."""
LABELS = {
    ("eFAT-style", "none"): "no retraining (FAP)",
    ("eFAT-style", "planned"): "**eFAT-style** (greedy)",
    ("eFAT-style", "until met"): "eFAT-style, its curves ended where they meet the constraint",
    ("eFAT-style, 160 steps", "planned"): "eFAT-style, budget of 160 steps",
    ("eFAT-style, 0.05 decaying", "planned"): (
        "eFAT-style at 0.05 and falling, budget of 4,096 steps, its curves ended"
    ),
    ("eFAT-style", "individual"): "Reduce: an amount and a model per chip",
    ("eFAT-style", "fixed"): "one amount for all, a model per chip",
    ("eFAT-style", "early_stop"): "early stopping, one model per chip",
    ("recalibrate", "each"): "BatchNorm re-estimated, one model per chip",
    ("harden + recalibrate", "each"): "hardened, then BatchNorm re-estimated, one model per chip",
    ("harden", "each"): "hardened, one model per chip",
    ("remap", "each"): "remap, one model per chip",
    ("compensate", "each"): "compensate, one model per chip",
    ("remap + compensate", "each"): "**remap + compensate, one model per chip**",
    (
        "remap + compensate, sequential",
        "each",
    ): "remap + compensate sequentially, one model per chip",
    ("remap + compensate", "early_stop"): "remap + compensate, trained on where that falls short",
    ("remap + compensate", "planned"): "remap + compensate, analysis and `min_cost`",
}
NAMES = {
    "cifar10": "CIFAR-10, ResNet-20, 64x64",
    "cifar10-256": "CIFAR-10, ResNet-20, 256x256",
    "cifar10-resnet32": "CIFAR-10, ResNet-32, 64x64",
    "cifar10-resnet32-256": "CIFAR-10, ResNet-32, 256x256",
    "resnet8": "Fashion-MNIST, ResNet-8, 32x32",
    "mobilenet": "Fashion-MNIST, MobileNetV2 of width 0.25, 64x64",
    "mlp": "Fashion-MNIST, MLP, 256x256",
}
"""Networks, data and arrays, by the first word of a setting."""
PARTS = (
    "step", "evaluation", "verification", "calibration", "remap + compensate",
    "remap + compensate, sequential", "remap", "compensate", "recalibrate", "hardening step",
)  # fmt: skip
HEAD = (
    "", "models", "steps: analysis", "steps: chips", "samples trained", "samples forward",
    "seconds", "of them once", "verification", "chips measured", "met val.", "met test",
    "certified", "mean %", "worst %",
)  # fmt: skip


def measured(found: dict[str, float]) -> list[str]:
    """Write how the chips that were measured came out."""
    counts = [f"{found[name]}" for name in ("measured", "met_val", "met_test", "certified")]
    return [*counts, f"{found['mean']:.2f}", f"{found['worst']:.2f}"]


def table(setting: str) -> str:
    """Lay out what each strategy costs and reaches in a setting."""
    lines = []
    for (job, strategy), label in LABELS.items():
        if result(setting, job, strategy) is None:
            continue
        if strategy == "until met" and analysis(setting, job, True) == analysis(
            setting, job, False
        ):
            continue
        c, o = cost(setting, job, strategy), outcome(setting, job, strategy)
        lines.append([
            label, f"{c['models']}", f"{c['analysis']:,}", f"{c['chips']:,}", f"{c['trained']:,}",
            f"{c['forward']:,}", f"{c['seconds']:,.0f}", f"{c['once']:,.0f}",
            f"{c['verification']:,.0f}", *(measured(o) if o else ["planned", *[""] * 5]),
        ])  # fmt: skip
    return markdown(HEAD, lines)


def curves_table(setting: str) -> str:
    """Lay out validation accuracy by fault rate: what is reached after how many steps."""
    jobs = dict.fromkeys(row["job"] for row in of("curves.csv", setting=setting))
    jobs = [job for job in jobs if not is_long(job)]
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
    run = f"{ARRAYS[setting]} retrained"
    before = at_amount(read(HERE.parent / "cifar10_resnet20/results.csv"), run, 64)
    earlier = dict(zip(rate_heads(before), by_rate(before, "val_metric"), strict=True))
    lines.insert(0, ["retrained at 0.01, 64 steps (5 maps, earlier record)",
                     *(earlier.get(percent(rate), "") for rate in rates)])  # fmt: skip
    return markdown(["", *map(percent, rates)], lines)


def named(setting: str) -> str:
    """Return what the page calls a setting."""
    kind, _, rest = setting.partition(" ")
    return ", ".join(filter(None, (NAMES[kind], rest.replace("1000", "fleet of 1,000"))))


def summary_table() -> str:
    """Lay out how chips came out that were repaired one by one, in every setting."""
    lines = []
    for row in of("results.csv", job="remap + compensate", strategy="each"):
        setting = row["setting"]
        o = outcome(setting, row["job"], row["strategy"]) or {}
        base = of("baselines.csv", setting=setting)[0]
        lines.append([
            named(setting), f"{int(base['chips']):,}", f"{o['measured']}", f"{o['met_test']}",
            f"{o['certified']}", f"{100 * float(base['test']) - o['worst']:.2f}",
        ])  # fmt: skip
    head = ("setting", "chips", "measured", "meet it on test", "certified",
            "worst, points below the baseline")  # fmt: skip
    return markdown(head, sorted(lines))


def costs_table() -> str:
    """Lay out the processor seconds of each part, by network."""
    lines = []
    for kind in NAMES:
        if not of("costs.csv", setting=kind):
            continue
        seconds = unit_seconds(kind)
        lines.append([NAMES[kind], *(f"{seconds[p]:.3g}" if seconds.get(p) else "" for p in PARTS)])
    return markdown(["seconds", *PARTS], lines)


def plans_table(job: str = "eFAT-style") -> str:
    """Lay out what would be planned and cost under looser constraints, with and without groups."""
    setting, lines = CIFAR10, []
    seconds = unit_seconds(setting)
    base = cost(setting, job, "planned")
    repaired = cost(setting, "remap + compensate", "each")
    bare = repaired["seconds"] - repaired["verification"]
    for row in of("plans.csv", setting=setting, job=job, strategy="planned"):
        models, steps = int(row["models"]), int(row["steps"])
        spent = base["once"] + seconds["unit"] * models + seconds["step"] * steps
        same = {"setting": setting, "job": job, "max_drop": row["max_drop"]}
        alone = [of("plans.csv", strategy=s, **same)[0]["steps"] for s in ("individual", "fixed")]
        lines.append([
            f"{100 * float(row['max_drop']):.0f}", f"{100 * float(row['highest_rate']):.0f} %",
            row["served"], row["models"], f"{steps:,}", f"{spent:,.0f}",
            f"{spent + base['verification']:,.0f}", f"{bare / spent:.2f}",
            f"{repaired['seconds'] / (spent + base['verification']):.2f}",
            *(f"{int(steps):,}" for steps in alone),
        ])  # fmt: skip
    head = ("points below the baseline", "map ends at", "chips served of 100", "models", "steps",
            "seconds without verification", "with", "repair over eFAT-style, without", "with",
            "steps: Reduce", "steps: one amount",
    )  # fmt: skip
    return markdown(head, lines)


def is_long(job: str) -> bool:
    """Tell the jobs whose retraining is long, by their learning rate."""
    return job.endswith(", long") or "decaying" in job


def long_table(setting: str) -> str:
    """Lay out validation accuracy of long retrainings, each 256 steps: one map per rate."""
    found: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for row in [row for row in of("curves.csv", setting=setting) if is_long(row["job"])]:
        label, step = row["job"].removesuffix(", long"), int(row["amount_steps"])
        found[row["fault_rate"], label][step] = f"{100 * float(row['val']):.1f}"
    steps = range(0, 1 + max(max(curve) for curve in found.values()), 256)
    lines = [
        [f"{percent(float(rate))}, {label}", *(curve.get(step, "") for step in steps)]
        for (rate, label), curve in sorted(found.items())
    ]
    return markdown(["", *(f"{step:,}" for step in steps)], lines)


def rates_table() -> str:
    """Lay out validation accuracy by learning rate of the retraining: one map per rate."""
    rows = read(HERE / "rates.csv")
    steps = sorted({int(row["amount_steps"]) for row in rows})
    found = {(r["lr"], r["fault_rate"], int(r["amount_steps"])): r["val"] for r in rows}
    lines = [
        [f"{percent(float(rate))}, {lr}",
         *(f"{100 * float(found[lr, rate, step]):.1f}" for step in steps)]
        for rate, lr in sorted({(row["fault_rate"], row["lr"]) for row in rows})
    ]  # fmt: skip
    return markdown(["", *(f"{step} steps" for step in steps)], lines)


def fleets_table() -> str:
    """Lay out what repairing a fleet took; where workers were not counted, at most all cores."""
    lines = []
    for row in read(HERE / "fleets.csv"):
        key = {name: row[name] for name in ("fleet", "recipe", "chips", "workers")}
        each = [float(chip["repair_s"]) for chip in of("fleet_chips.csv.gz", **key)]
        wall_s = float(row["wall_s"])
        processor_s = float(row["processor_s"] or wall_s * int(row["workers"]))
        most = "" if row["processor_s"] else "at most "
        lines.append([
            row["fleet"], row["recipe"], f"{len(each):,}", row["workers"], f"{wall_s:.0f}",
            f"{most}{processor_s / len(each):.2f}", f"{min(each):.2f}-{max(each):.2f}",
            f"{most}{1000 * processor_s / len(each) / 60:.1f}",
        ])  # fmt: skip
    head = ("fleet", "recipe", "chips", "processes", "wall seconds", "processor seconds per chip",
            "repair alone, wall seconds", "1,000 chips, core minutes")  # fmt: skip
    return markdown(head, lines)


def tables() -> list[str]:
    """Return all tables of the page."""
    settings = sorted({row["setting"] for row in read(HERE / "results.csv")})
    return [
        summary_table(), costs_table(), *map(table, settings), plans_table(),
        *map(curves_table, ARRAYS), rates_table(), long_table(CIFAR10), fleets_table(),
    ]  # fmt: skip
