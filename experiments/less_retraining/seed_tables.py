"""The tables of the ten seeds on another processor, and that of the project's README.

python experiments/2026-11-22-less-retraining/seed_tables.py
"""

from __future__ import annotations

from statistics import mean

from table import ROWS, cost_of, markdown, rows_of, unit_seconds

HEAD_SHORT = (
    "40 chips, mean of ten seeds", "models", "steps of retraining the chips",
    "seconds, analysis included", "chips that meet the constraint on validation", "on test",
)  # fmt: skip
HEAD_SEEDS = (
    "", "models", "steps: analysis", "steps: chips", "seconds", "met val.", "each seed", "met test",
    "each seed", "mean %", "worst %",
)  # fmt: skip


def seeds_table() -> str:
    """Lay out the ten seeds on another processor."""
    rows = [row for row in ROWS if rows_of(*row[:2], file="seeds.csv")]
    return markdown([list(HEAD_SEEDS), *(seeds_line(*row) for row in rows)])


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


def seconds_of(seeds: list[dict[str, str]]) -> float:
    """Return the mean cost of a seed, in processor seconds of the other processor."""
    seconds = unit_seconds("seeds_costs.csv")
    return mean(cost_of(row, seconds)["seconds"] for row in seeds)


def met(seeds: list[dict[str, str]], split: str) -> str:
    """Count the chips of all seeds that meet the constraint."""
    counts = (sum(int(row[name]) for row in seeds) for name in (f"met_{split}", "chips"))
    return " of ".join(map(str, counts))


def span(seeds: list[dict[str, str]], split: str) -> str:
    """Return the fewest and the most chips of a seed that do."""
    counts = [int(row[f"met_{split}"]) for row in seeds]
    return f"{min(counts)}-{max(counts)}"


def short_table() -> str:
    """Lay out what the project's README shows."""
    rows = (
        (
            "eFAT-style",
            "greedy",
            "eFAT-style: chips merged pair by pair (`+experiment=resnet_fat planner=greedy`)",
        ),
        (
            "eFAT-style",
            "greedy until met",
            "the same, had its curves ended where they met the constraint (computed)",
        ),
        (
            "eFAT-style",
            "min_cost",
            "`+experiment=resnet_fat`: the cheapest plan found (`planner=min_cost`)",
        ),
        (
            "eFAT-style",
            "early_stop",
            "each chip trained until it meets the constraint on validation "
            "(`+experiment=resnet_fat planner=early_stop`)",
        ),
        ("one-shot", "early_stop", "**`+experiment=resnet_fat_repair`**: each chip repaired first"),
        (
            "one-shot",
            "min_cost",
            "repaired in groups (`+experiment=resnet_fat_repair planner=min_cost`)",
        ),
        (
            "sequential",
            "min_cost",
            "the same, layer by layer (`... planner=min_cost recipe.mode=sequential`)",
        ),
    )
    return markdown([list(HEAD_SHORT), *(short_line(*row) for row in rows)])


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


if __name__ == "__main__":
    print(seeds_table(), short_table(), sep="\n\n")
