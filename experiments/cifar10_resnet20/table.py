"""The tables of CIFAR-10, ResNet-20, from their raw rows.

python experiments/2026-11-22-cifar10-resnet20/table.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.record_tables import (
    Lines,
    Row,
    amounts,
    at_amount,
    by_rate,
    percent,
    percent_1,
    print_tables,
    rate_heads,
    read,
    table,
)


def retraining_table(rows: Sequence[Row], recalibrated: str, retrained: str = "") -> Lines:
    """Return masking, BatchNorm re-estimation and every amount of retraining over fault rates."""
    [batches] = amounts(rows, recalibrated)
    lines = [
        [label, *by_rate(at_amount(rows, recalibrated, steps), "val_metric")]
        for steps, label in ((0, "masked only (FAP)"), (batches, "BatchNorm re-estimated"))
    ]
    lines += [
        [f"retrained, {steps} steps", *by_rate(at_amount(rows, retrained, steps), "val_metric")]
        for steps in amounts(rows, retrained)
    ]
    return table(["", *rate_heads(at_amount(rows, recalibrated, 0))], lines)


def amounts_table(rows: Sequence[Row], runs: Mapping[str, str]) -> Lines:
    """Return single maps in several runs, amount by amount; only maps that all runs have."""
    maps = [{(r["fault_rate"], r["repeat"]) for r in rows if r["run"] == run} for run in runs]
    steps = [0, *amounts(rows, next(iter(runs)))]
    lines = [
        [f"{percent(float(rate))}, map {repeat}, {label}"]
        + [
            percent_1(row["val_metric"])
            for step in steps
            for row in at_amount(rows, run, step)
            if (row["fault_rate"], row["repeat"]) == (rate, repeat)
        ]
        for rate, repeat in sorted(set.intersection(*maps))
        for run, label in runs.items()
    ]
    return table(["", "masked", *(f"{step} steps" for step in steps[1:])], lines)


def chips_table(rows: Sequence[Row], val_size: int, test_size: int) -> Lines:
    """Return one line a chip: its fault rate, its group, accuracy before and after.

    Validation is a part of the published test images: with it they are all there.
    """
    whole = val_size + test_size
    lines = [
        [
            row["chip_id"], percent_1(row["fault_rate"]), row["group"] or "none",
            row["amount_steps"] or "0", percent_1(row["test_before"]), percent_1(row["test_after"]),
            percent_1(
                (val_size * float(row["val_after"]) + test_size * float(row["test_after"])) / whole
            ),
            *("yes" if row[f"met_{split}"] == "True" else "no" for split in ("val", "test")),
        ]
        for row in rows
    ]  # fmt: skip
    head = [
        "chip",
        "faulty",
        "group",
        "steps",
        "test, masked",
        "test, retrained",
        f"all {whole:,}",
        "met, val",
        "test",
    ]
    return table(head, lines)


def tables() -> list[Lines]:
    """Return all tables of the page, as lines."""
    record = Path(__file__).parent.name
    rows = read(record, "results.csv")
    return [
        retraining_table(rows, "64x64 BatchNorm", "64x64 retrained"),
        retraining_table(rows, "256x256 BatchNorm", "256x256 retrained"),
        chips_table(read(record, "chips_64.csv"), 2000, 8000),
        chips_table(read(record, "chips_256.csv"), 2000, 8000),
        amounts_table(rows, {"64x64 retrained": "bf16", "64x64 retrained, fp32": "fp32"}),
    ]


if __name__ == "__main__":
    print_tables(tables())
