"""The tables of the record, from its raw rows: by recipe, by fleet, and of ten seeds."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

from experiments.less_retraining.counting import HERE, ROWS, cost_of, rows_of, unit_seconds
from experiments.records import Row, markdown, read, share

HEAD = (
    "", "models", "steps: analysis", "steps: chips", "samples trained", "samples forward",
    "seconds", "of them once", "met val.", "met test", "certified", "mean %", "worst %",
)  # fmt: skip
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
    ("one-shot", "early_stop", "remap + compensate, one model per chip, no analysis"),
    ("one-shot", "min_cost", "remap + compensate, `min_cost`"),
)
HEAD_SHORT = (
    "40 chips, mean of ten seeds", "models", "steps of retraining the chips",
    "seconds, analysis included", "chips that meet the constraint on validation", "on test",
)  # fmt: skip
HEAD_SEEDS = (
    "", "models", "steps: analysis", "steps: chips", "seconds", "met val.", "each seed", "met test",
    "each seed", "mean %", "worst %",
)  # fmt: skip
SHORT = (
    ("eFAT-style", "greedy",
     "eFAT-style: chips merged pair by pair (`+experiment=resnet_fat planner=greedy`)"),
    ("eFAT-style", "greedy until met",
     "the same, had its curves ended where they met the constraint (computed)"),
    ("eFAT-style", "min_cost",
     "`+experiment=resnet_fat`: the cheapest plan found (`planner=min_cost`)"),
    ("eFAT-style", "early_stop",
     "each chip trained until it meets the constraint on validation "
     "(`+experiment=resnet_fat planner=early_stop`)"),
    ("one-shot", "early_stop", "**`+experiment=resnet_fat_repair`**: each chip repaired first"),
    ("one-shot", "min_cost",
     "repaired in groups (`+experiment=resnet_fat_repair planner=min_cost`)"),
    ("sequential", "min_cost",
     "the same, layer by layer (`... planner=min_cost recipe.mode=sequential`)"),
)  # fmt: skip
"""Job, strategy and label of the lines in the project's README."""


def tables() -> list[str]:
    return [main_table(), rates_table(), fleet_table(), aim_table(), seeds_table()]


def line(job: str, strategy: str, label: str) -> list[str]:
    seeds = rows_of(job, strategy)
    seconds = unit_seconds()
    costs = [cost_of(row, seconds) for row in seeds]

    def average(name: str) -> float:
        return mean(cost[name] for cost in costs)

    return [
        label + missing(seeds),
        *(each(seeds, name) for name in ("models", "analysis_steps", "retrain_steps")),
        f"{average('trained'):,.0f}", f"{average('forward'):,.0f}",
        f"{average('seconds'):.1f}", f"{average('once'):.1f}",
        *(each(seeds, name) for name in ("met_val", "met_test", "certified")),
        *(each_percent(seeds, name) for name in ("mean_test", "worst_test")),
    ]  # fmt: skip


def missing(seeds: list[Row]) -> str:
    """Name the seeds that a strategy was run for, where they are not all three."""
    names = ", ".join(row["seed"] for row in seeds)
    return "" if len(seeds) == 3 else f" (seed{'s' * (len(seeds) > 1)} {names})"


def each(seeds: list[Row], name: str) -> str:
    return " / ".join(row[name] for row in seeds)


def each_percent(seeds: list[Row], name: str) -> str:
    return " / ".join(share(row[name], 2) for row in seeds)


def main_table() -> str:
    return markdown(HEAD, (line(*row) for row in ROWS if rows_of(*row[:2])))


def rates_table() -> str:
    """Lay out the mean validation accuracy after a repair, by way to retrain and steps."""
    points = defaultdict(list)
    for row in read(HERE / "rates.csv"):
        key = row["batch_norm"], row["lr"], row["fault_rate"], int(row["amount_steps"])
        points[key].append(100 * float(row["val_metric"]))
    steps = (0, 8, 16, 32, 64)
    head = ["BatchNorm, rate", *(f"{rate} %, {s} steps" for rate in (40, 50) for s in steps)]
    ways = dict.fromkeys(key[:2] for key in points)
    lines = [
        [f"{norm}, {lr}",
         *(f"{mean(points[norm, lr, r, s]):.2f}" for r in ("0.4", "0.5") for s in steps)]
        for norm, lr in ways
    ]  # fmt: skip
    return markdown(head, lines)


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
    return markdown(head, lines)


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
        "of eFAT-style's", "one model per chip, no analysis, s", "of eFAT-style's",
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
    return markdown(head, lines)


def seconds_once(fleet: str, job: str, strategy: str) -> float:
    """Return the seconds of a strategy in a fleet, seed 0, planning included."""
    row = rows_of(job, strategy, fleet)[0]
    return cost_of(row, unit_seconds())["seconds"] + planning_seconds([row])


def planning_seconds(seeds: list[Row]) -> float:
    """Return the mean processor seconds of planning, of the runs that took them."""
    took = [float(row["planning_s"]) for row in seeds if row["planning_s"]]
    return mean(took) if took else 0.0


def seeds_table() -> str:
    """Lay out the ten seeds on another processor."""
    rows = [row for row in ROWS if rows_of(*row[:2], file="seeds.csv")]
    return markdown(HEAD_SEEDS, (seeds_line(*row) for row in rows))


def seeds_line(job: str, strategy: str, label: str) -> list[str]:
    """Return means over the seeds, and the chips that meet the constraint, in all and by seed."""
    seeds = rows_of(job, strategy, file="seeds.csv")
    means = [
        f"{mean(int(row[n]) for row in seeds):,.0f}" for n in ("analysis_steps", "retrain_steps")
    ]
    return [
        label,
        f"{mean(int(row['models']) for row in seeds):.1f}",
        *means,
        f"{seconds_of(seeds):.1f}",
        *(cell for split in ("val", "test") for cell in (met(seeds, split), span(seeds, split))),
        f"{mean(100 * float(row['mean_test']) for row in seeds):.2f}",
        f"{min(100 * float(row['worst_test']) for row in seeds):.2f}",
    ]


def seconds_of(seeds: list[Row]) -> float:
    """Return the mean cost of a seed, in processor seconds of the other processor."""
    seconds = unit_seconds("seeds_costs.csv")
    return mean(cost_of(row, seconds)["seconds"] for row in seeds)


def met(seeds: list[Row], split: str) -> str:
    """Count the chips of all seeds that meet the constraint."""
    counts = (sum(int(row[name]) for row in seeds) for name in (f"met_{split}", "chips"))
    return " of ".join(map(str, counts))


def span(seeds: list[Row], split: str) -> str:
    """Return the fewest and the most chips of a seed that do."""
    counts = [int(row[f"met_{split}"]) for row in seeds]
    return f"{min(counts)}-{max(counts)}"


def short_table() -> str:
    """Lay out what the project's README shows."""
    return markdown(HEAD_SHORT, (short_line(*row) for row in SHORT))


def short_line(job: str, strategy: str, label: str) -> list[str]:
    """Return means over the seeds, and the chips of all seeds that meet the constraint."""
    seeds = rows_of(job, strategy, file="seeds.csv")
    return [
        label,
        f"{mean(int(row['models']) for row in seeds):.1f}",
        f"{mean(int(row['retrain_steps']) for row in seeds):,.0f}",
        f"{seconds_of(seeds):.1f}",
        met(seeds, "val"),
        met(seeds, "test"),
    ]
