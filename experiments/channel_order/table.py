"""The tables of the two orders, from their raw rows.

python experiments/2026-11-22-channel-order/table.py
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
    print_tables,
    rate_heads,
    read,
    signed,
    table,
)


def pruned_table(rows: Sequence[Row]) -> Lines:
    """Return what the same maps prune in either order."""
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows):
        for order in ("im2col", "channel"):
            of = [r for r in rows if r["network"] == network and r["order"] == order]
            lines += [
                [f"{network}, {order}: {what}", *by_rate(of, column)]
                for what, column in (
                    ("weights pruned", "weights_pruned"), ("kernels lost", "kernels_lost"),
                    ("kernels touched", "kernels_touched"),
                )
            ]  # fmt: skip
    return table(["%", *rate_heads(rows)], lines)


def order_table(rows: Sequence[Row], im2col: str, channel: str, labels: Mapping[int, str]) -> Lines:
    """Return both orders at some amounts, and what `channel` gains on the same maps."""
    lines = []
    for steps, label in labels.items():
        first, second = at_amount(rows, im2col, steps), at_amount(rows, channel, steps)
        lines.append([f"{label}, im2col", *by_rate(first, "val_metric")])
        lines.append([f"{label}, channel", *by_rate(second, "val_metric")])
        lines.append([f"{label}, channel less im2col", *_gains(first, second)])
    return table(["", *rate_heads(at_amount(rows, im2col, 0))], lines)


def _gains(first: Sequence[Row], second: Sequence[Row]) -> list[str]:
    """Return, for each fault rate, the gains of `second` over `first`, map by map."""
    found: dict[float, list[float]] = {}
    values = {(row["fault_rate"], row["repeat"]): float(row["val_metric"]) for row in second}
    for row in first:
        gain = values[row["fault_rate"], row["repeat"]] - float(row["val_metric"])
        found.setdefault(float(row["fault_rate"]), []).append(gain)
    return [signed(found[rate]) for rate in sorted(found)]


def tables() -> list[Lines]:
    """Return all tables of the page, as lines."""
    record = Path(__file__).parent.name
    rows, pruned = read(record, "results.csv"), read(record, "pruned.csv")
    first, *_, last = amounts(rows, "digits im2col")
    [batches] = amounts(rows, "cifar10 im2col")
    return [
        pruned_table([row for row in pruned if row["network"].startswith("ResNet-20")]),
        order_table(
            rows, "cifar10 im2col", "cifar10 channel",
            {0: "masked", batches: "BatchNorm re-estimated"},
        ),
        order_table(
            rows, "digits im2col", "digits channel",
            {0: "masked", first: f"{first} steps", last: f"{last} steps"},
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    print_tables(tables())
