"""The tables of the records on real data, from their raw rows; a test holds the READMEs to them.

python -m experiments.record_tables RECORD     # a folder of experiments/
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from efat.pages.text import markdown_table

HERE = Path(__file__).parent
Row = Mapping[str, str]
Lines = list[str]


def read(record: str, name: str) -> list[Row]:
    """Return the rows of a record's file."""
    with (HERE / record / name).open() as file:
        return list(csv.DictReader(file))


def spread(values: Iterable[float], digits: int = 1) -> str:
    """Write shares in percent: mean, and lowest to highest.

    >>> spread([0.5, 0.7]), spread([0.5])
    ('60.0 (50.0-70.0)', '50.0')
    """
    shares = [100 * value for value in values]
    mean = f"{sum(shares) / len(shares):.{digits}f}"
    return (
        mean if len(shares) == 1 else f"{mean} ({min(shares):.{digits}f}-{max(shares):.{digits}f})"
    )


def percent(rate: float) -> str:
    """Write a fault rate."""
    return f"{100 * rate:.0f} %"


def by_rate(rows: Sequence[Row], column: str, digits: int = 1) -> list[str]:
    """Return a cell for each fault rate: the spread of a column over the maps."""
    rates = sorted({float(row["fault_rate"]) for row in rows})
    return [
        spread((float(r[column]) for r in rows if float(r["fault_rate"]) == rate), digits)
        for rate in rates
    ]


def rate_heads(rows: Sequence[Row]) -> list[str]:
    """Return the heading of every fault rate."""
    return [percent(rate) for rate in sorted({float(row["fault_rate"]) for row in rows})]


def at_amount(rows: Sequence[Row], run: str, steps: int) -> list[Row]:
    """Return the points of a run's curves at one amount."""
    return [row for row in rows if row["run"] == run and int(row["amount_steps"]) == steps]


def amounts(rows: Sequence[Row], run: str) -> list[int]:
    """Return the recorded amounts of a run above 0, in steps."""
    return sorted({int(row["amount_steps"]) for row in rows if row["run"] == run} - {0})


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Lines:
    """Return a Markdown table, as lines."""
    return markdown_table(head, lines).splitlines()


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


def percent_1(share: str | float) -> str:
    """Write a share in percent, one digit behind the point."""
    return f"{100 * float(share):.1f}"


def fap_fat_table(rows: Sequence[Row]) -> Lines:
    """Return test accuracy of FAP and FAP+T over fault rates, and the drops in points."""
    base = next(float(row["test_fap"]) for row in rows if float(row["fault_rate"]) == 0)
    dropped = [
        {**row, "fap": base - float(row["test_fap"]), "fat": base - float(row["test_fat"])}
        for row in rows
    ]
    lines = [
        ["FAP", *by_rate(rows, "test_fap")],
        ["FAP+T", *by_rate(rows, "test_fat")],
        ["FAP: points lost", *by_rate(dropped, "fap", 2)],
        ["FAP+T: points lost", *by_rate(dropped, "fat", 2)],
    ]
    return table(["", *rate_heads(rows)], lines)


COLLAPSED = 0.5
"""Test accuracy below which a training of ten classes is said to have collapsed."""


def merge_table(rows: Sequence[Row]) -> Lines:
    """Return test accuracy by merged maps, both ways, how they compare, and what collapsed.

    A training that diverged has no accuracy and counts as collapsed.
    """
    counts = sorted({int(row["maps"]) for row in rows})
    columns = [[row for row in rows if int(row["maps"]) == count] for count in counts]
    ways = ("at once", "step by step")
    lines = [["PEs masked, %", *(spread((float(r["union_rate"]) for r in c), 0) for c in columns)]]
    lines += [[way, *(spread(_tests(column, way).values()) for column in columns)] for way in ways]
    lines.append(["step by step less at once", *(signed(_way_gains(c)) for c in columns)])
    lines += [[f"{way}, collapsed", *(_collapsed(c, way) for c in columns)] for way in ways]
    return table(["merged maps", *map(str, counts)], lines)


def _tests(rows: Sequence[Row], way: str) -> dict[str, float]:
    """Return test accuracy by seed, of the trainings that did not diverge."""
    return {r["seed"]: float(r["test"]) for r in rows if r["way"] == way and r["test"]}


def _way_gains(rows: Sequence[Row]) -> list[float]:
    """Return what step by step gains, seed by seed."""
    once, steps = _tests(rows, "at once"), _tests(rows, "step by step")
    return [steps[seed] - once[seed] for seed in once if seed in steps]


def _collapsed(rows: Sequence[Row], way: str) -> str:
    of = [row for row in rows if row["way"] == way]
    lost = sum(not row["test"] or float(row["test"]) < COLLAPSED for row in of)
    return f"{lost} of {len(of)}"


def signed(differences: Sequence[float]) -> str:
    """Write differences of shares in points: mean, and lowest to highest.

    >>> signed([0.01, -0.02])
    '-0.5 (-2.0 to +1.0)'
    """
    points = [100 * value for value in differences]
    return f"{sum(points) / len(points):+.1f} ({min(points):+.1f} to {max(points):+.1f})"


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


def cifar10() -> list[Lines]:
    """Return the tables of CIFAR-10, ResNet-20."""
    record = "2026-11-22-cifar10-resnet20"
    rows = read(record, "results.csv")
    return [
        retraining_table(rows, "64x64 BatchNorm", "64x64 retrained"),
        retraining_table(rows, "256x256 BatchNorm", "256x256 retrained"),
        chips_table(read(record, "chips_64.csv"), 2000, 8000),
        chips_table(read(record, "chips_256.csv"), 2000, 8000),
        amounts_table(rows, {"64x64 retrained": "bf16", "64x64 retrained, fp32": "fp32"}),
    ]


def fashion() -> list[Lines]:
    """Return the tables of Fashion-MNIST, one a network and learning rate of the retraining."""
    rows = read("2026-11-22-fashion-fap-fat", "results.csv")
    kinds = dict.fromkeys((row["model"], row["lr"]) for row in rows)
    return [fap_fat_table([r for r in rows if (r["model"], r["lr"]) == kind]) for kind in kinds]


def channel() -> list[Lines]:
    """Return the tables of the two orders."""
    record = "2026-11-22-channel-order"
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


def merging() -> list[Lines]:
    """Return the tables of merged maps, one a network, learning rate and rate of a map."""
    rows = read("2026-11-22-merging-maps", "results.csv")
    kinds = dict.fromkeys((row["model"], row["lr"], row["map_rate"]) for row in rows)
    return [
        merge_table([r for r in rows if (r["model"], r["lr"], r["map_rate"]) == kind])
        for kind in kinds
    ]


def repair() -> list[Lines]:
    """Return a table for each setting: accuracy of each method on each map, by fault rate."""
    rows = [row for row in read("2026-11-22-repair", "results.csv") if row["map"]]
    return [
        _by_method([row for row in rows if row["setting"] == setting])
        for setting in dict.fromkeys(row["setting"] for row in rows)
    ]


def _by_method(rows: Sequence[Row]) -> Lines:
    rates = sorted({float(row["fault_rate"]) for row in rows})
    found: dict[str, dict[float, list[str]]] = {}
    for row in rows:
        cells = found.setdefault(row["method"].replace("|w|", "weight magnitude"), {})
        cells.setdefault(float(row["fault_rate"]), []).append(f"{float(row['test_pct']):.1f}")
    lines = [
        [method, *(" / ".join(cells.get(rate, ["-"])) for rate in rates)]
        for method, cells in found.items()
    ]
    return markdown_table(["method", *map(percent, rates)], lines).split("\n")


NETWORKS = ("baseline", "hardened")


def hardening() -> list[Lines]:
    """Return accuracy and maps that meet the constraint, a recipe a row; and the networks."""
    record = "2026-11-22-hardening"
    rows = read(record, "results.csv")

    def cell(recipe: str, rate: str) -> str:
        found = [row for row in rows if (row["recipe"], row["fault_rate"]) == (recipe, rate)]
        met = sum(row["met"] == "True" for row in found)
        return f"{spread([float(row['val']) for row in found])}: {met} of {len(found)}"

    recipes, rates = (dict.fromkeys(row[name] for row in rows) for name in ("recipe", "fault_rate"))
    table = [[recipe, *(cell(recipe, rate) for rate in rates)] for recipe in recipes]
    networks = [
        [
            n["seed"],
            f"{100 * float(n['baseline_val']):.2f}",
            f"{100 * float(n['hardened_val']):.2f}",
        ]
        for n in read(record, "networks.csv")
    ]
    heads = ["recipe", *(percent(float(rate)) for rate in rates)]
    names = ["seed", "baseline %", "hardened %"]
    return [
        markdown_table(head, body).splitlines()
        for head, body in ((heads, table), (names, networks))
    ]


TABLES: dict[str, Callable[[], list[Lines]]] = {
    "2026-11-22-repair": repair,
    "2026-11-22-cifar10-resnet20": cifar10,
    "2026-11-22-fashion-fap-fat": fashion,
    "2026-11-22-channel-order": channel,
    "2026-11-22-merging-maps": merging,
    "2026-11-22-hardening": hardening,
}

if __name__ == "__main__":
    for lines in TABLES[sys.argv[1]]():
        print("\n".join(lines), end="\n\n")
