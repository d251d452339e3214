"""The tables of CIFAR-10, ResNet-20, from their raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.records import (
    Row,
    amounts,
    at_amount,
    by_rate,
    markdown,
    percent,
    rate_heads,
    read,
    share,
    where,
)

HERE = Path(__file__).parent
VAL, TEST = 2000, 8000
"""Images; validation is a part of the published test images: with it they are all there."""


def retraining_table(rows: Sequence[Row], recalibrated: str, retrained: str) -> str:
    """Lay out masking, BatchNorm re-estimation and every amount of retraining over fault rates."""
    [batches] = amounts(rows, recalibrated)
    lines = [
        [label, *by_rate(at_amount(rows, recalibrated, steps), "val_metric")]
        for steps, label in ((0, "masked only (FAP)"), (batches, "BatchNorm re-estimated"))
    ]
    lines += [
        [f"retrained, {steps} steps", *by_rate(at_amount(rows, retrained, steps), "val_metric")]
        for steps in amounts(rows, retrained)
    ]
    return markdown(["", *rate_heads(at_amount(rows, recalibrated, 0))], lines)


def amounts_table(rows: Sequence[Row], runs: Mapping[str, str]) -> str:
    """Lay out single maps in several runs, amount by amount; only maps that all runs have."""
    maps = [{(r["fault_rate"], r["repeat"]) for r in rows if r["run"] == run} for run in runs]
    steps = [0, *amounts(rows, next(iter(runs)))]
    lines = [
        [f"{percent(rate)}, map {repeat}, {label}"]
        + [
            share(row["val_metric"])
            for step in steps
            for row in where(at_amount(rows, run, step), fault_rate=rate, repeat=repeat)
        ]
        for rate, repeat in sorted(set.intersection(*maps))
        for run, label in runs.items()
    ]
    return markdown(["", "masked", *(f"{step} steps" for step in steps[1:])], lines)


def chips_table(rows: Sequence[Row]) -> str:
    """Lay out a line per chip: its fault rate, its group, accuracy before and after."""
    lines = []
    for row in rows:
        whole = VAL * float(row["val_after"]) + TEST * float(row["test_after"])
        lines.append([
            row["chip_id"], share(row["fault_rate"]), row["group"] or "none",
            row["amount_steps"] or "0", share(row["test_before"]), share(row["test_after"]),
            share(whole / (VAL + TEST)),
            *("yes" if row[f"met_{split}"] == "True" else "no" for split in ("val", "test")),
        ])  # fmt: skip
    head = ["chip", "faulty", "group", "steps", "test, masked", "test, retrained", "all 10,000",
            "met, val", "test"]  # fmt: skip
    return markdown(head, lines)


def tables() -> list[str]:
    rows, chips = read(HERE / "results.csv"), read(HERE / "chips.csv.gz")
    return [
        retraining_table(rows, "64x64 BatchNorm", "64x64 retrained"),
        retraining_table(rows, "256x256 BatchNorm", "256x256 retrained"),
        chips_table(where(chips, array="64x64")),
        chips_table(where(chips, array="256x256")),
        amounts_table(rows, {"64x64 retrained": "bf16", "64x64 retrained, fp32": "fp32"}),
    ]
