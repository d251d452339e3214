"""The tables of the two orders, from their raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.records import (
    Row,
    amounts,
    at_amount,
    by_rate,
    markdown,
    rate_heads,
    read,
    signed,
    where,
)

HERE = Path(__file__).parent


def pruned_table(network: str) -> str:
    """Lay out what the same maps prune in either order."""
    rows = where(read(HERE / "pruned.csv"), network=network)
    lines = [
        [f"{network}, {order}: {name.replace('_', ' ')}",
         *by_rate(where(rows, order=order), name)]
        for order in ("im2col", "channel")
        for name in ("weights_pruned", "kernels_lost", "kernels_touched")
    ]  # fmt: skip
    return markdown(["%", *rate_heads(rows)], lines)


def order_table(rows: Sequence[Row], network: str, labels: Mapping[int, str]) -> str:
    """Lay out both orders at some amounts, and what `channel` gains on the same maps."""
    lines = []
    for steps, label in labels.items():
        first, second = (at_amount(rows, f"{network} {o}", steps) for o in ("im2col", "channel"))
        lines.append([f"{label}, im2col", *by_rate(first, "val_metric")])
        lines.append([f"{label}, channel", *by_rate(second, "val_metric")])
        lines.append([f"{label}, channel less im2col", *gains(first, second)])
    return markdown(["", *rate_heads(first)], lines)


def gains(first: Sequence[Row], second: Sequence[Row]) -> list[str]:
    """Return, for each fault rate, the gains of `second` over `first`, map by map."""
    by_rate: dict[float, list[float]] = {}
    values = {(row["fault_rate"], row["repeat"]): float(row["val_metric"]) for row in second}
    for row in first:
        gain = values[row["fault_rate"], row["repeat"]] - float(row["val_metric"])
        by_rate.setdefault(float(row["fault_rate"]), []).append(gain)
    return [signed(by_rate[rate]) for rate in sorted(by_rate)]


def tables() -> list[str]:
    rows = read(HERE / "results.csv")
    first, *_, last = amounts(rows, "digits im2col")
    [batches] = amounts(rows, "cifar10 im2col")
    return [
        pruned_table("ResNet-20, 64x64"),
        order_table(rows, "cifar10", {0: "masked", batches: "BatchNorm re-estimated"}),
        order_table(rows, "digits", {0: "masked", first: f"{first} steps", last: f"{last} steps"}),
    ]
