"""Folders as finished campaigns leave them, without the hours."""

import json
from functools import reduce
from operator import or_

import numpy as np

from efat.hardware.chip import Chip, Fleet
from efat.hardware.fleets import save_fleet, uniform_fleet
from efat.hardware.mapping import SystolicArray
from efat.io import write_csv

STEPS, EPOCH = (0, 10, 20, 30), 10


def finished(folder, chips=12, side=8, worse=0.0, name="tiny", seed=0):
    """Write a run of groups of three: the last chip unsalvageable, the first one short."""
    folder.mkdir(parents=True, exist_ok=True)
    fleet = uniform_fleet(SystolicArray(side, side), seed, chips, (0.01, 0.2))
    groups = [fleet.chips[i : min(i + 3, chips - 1)] for i in range(0, chips - 1, 3)]
    fused = [reduce(or_, (c.fault_map for c in g)) for g in groups]
    save_fleet(fleet, folder / "fleet.npz")
    named = [Chip(f"group{i:03d}", m) for i, m in enumerate(fused)]
    save_fleet(Fleet(tuple(named)), folder / "fused_maps.npz")
    rows = _chip_rows(fleet, groups, fused, worse)
    write_csv(folder / "chips.csv", rows)
    write_csv(folder / "groups.csv", _group_rows(groups, fused, fleet.chips[-1]))
    write_csv(folder / "curves.csv", _curve_rows())
    write_csv(folder / "layers.csv", [
        {"layer": layer, "weights": 64, "chips_mean": 0.1, "chips_min": 0.01, "chips_max": 0.2,
         "models_mean": 0.3, "models_min": 0.2, "models_max": 0.4} for layer in ("conv", "linear")
    ])  # fmt: skip
    documents = {
        "summary": _summary(rows, len(groups)),
        "resilience_map": {
            "metric": "accuracy", "target": 0.8, "severity": "array_rate", "stat": "max",
            "interpolation": "linear", "max_severity": 0.3, "steps_per_epoch": EPOCH,
            "severities": [0.1, 0.3, 0.5], "amounts_steps": [10.0, 20.0, None],
        },
        "plan": {
            "planner": "greedy", "gap": 0.25, "unsalvageable": [fleet.chips[-1].chip_id],
            "groups": [
                {"group": f"group{i:03d}", "members": [c.chip_id for c in g], "severity": 0.2,
                 "amount_steps": 20.0, "fused_fault_rate": fused[i].fault_rate}
                for i, g in enumerate(groups)
            ],
        },
        "made": {"name": name, "command": "python -m efat.run", "seed": seed,
                 "versions": {"torch": "2.13"}, "split_sha256": None},
    }  # fmt: skip
    for title, document in documents.items():
        (folder / f"{title}.json").write_text(json.dumps(document))
    (folder / "config.yaml").write_text(
        f"name: {name}\nseed: {seed}\nstore: x\narray: {{dataflow: ws}}\n"
        "training: {eval_every_epochs: 1}\n"
    )
    return folder


def _chip_rows(fleet, groups, fused, worse):
    index = {c.chip_id: i for i, g in enumerate(groups) for c in g}
    rows = []
    for place, chip in enumerate(fleet):
        group = index.get(chip.chip_id)
        value = 0.5 if group is None else 0.7 if place == 0 else 0.9 - worse - 0.001 * group
        rate = chip.fault_map.fault_rate
        rows.append(
            {"chip_id": chip.chip_id, "fault_rate": rate, "severity": rate,
             "group": "" if group is None else f"group{group:03d}",
             "group_size": 0 if group is None else len(groups[group]),
             "fused_fault_rate": None if group is None else fused[group].fault_rate,
             "amount_steps": None if group is None else 20,
             "amount_epochs": None if group is None else 2.0,
             "val_before": 0.6, "val_after": value, "test_before": 0.6, "test_after": value,
             "met_val": value >= 0.8, "met_test": value >= 0.8, "status": _status(value),
             "test_low": value - 0.08, "salvageable": group is not None}
        )  # fmt: skip
    return rows


def _status(value):
    return "certified" if value >= 0.88 else "pass" if value >= 0.8 else "fail"


def _group_rows(groups, fused, lost):
    rows = [
        {"group": f"group{i:03d}", "chips": len(g), "fused_rate": fused[i].fault_rate,
         "amount_steps": 20.0, "alone_steps": 30.0, "price": 20.0, "price_alone": 30.0,
         "share_saved": 1 / 3,
         "members": ";".join(c.chip_id for c in g)}
        for i, g in enumerate(groups)
    ]  # fmt: skip
    return [*rows, {"group": "unsalvageable", "chips": 1, "members": lost.chip_id}]


def _curve_rows():
    """Two rates, two repeats; the second repeat of the second rate diverges after a step."""
    return [
        {"fault_rate": rate, "repeat": repeat, "severity": rate, "amount_steps": step,
         "amount_epochs": step / EPOCH,
         "val_metric": None if (rate, repeat) == (0.3, 1) and step > 10 else 0.71 + step / 100}
        for rate in (0.1, 0.3) for repeat in (0, 1) for step in STEPS
    ]  # fmt: skip


def _summary(rows, models):
    tests = np.array([row["test_after"] for row in rows])
    short = [row["chip_id"] for row in rows if not row["met_test"]]

    def strategy(name, models, epochs):
        cost = {"steps": int(EPOCH * epochs), "epochs": epochs, "samples": 0, "elapsed_s": 1.0}
        return {"name": name, "models": models, "beyond_map": 0, "retraining": cost,
                "met_val": len(rows) - len(short), "met_test": len(rows) - len(short),
                "verified": sum(row["status"] == "certified" for row in rows),
                "mean_test": tests.mean(), "worst_test": tests.min(), "short": short,
                "diverged": 0}  # fmt: skip

    return {
        "baseline": {"val": 0.95, "test": 0.94}, "targets": {"val": 0.8, "test": 0.8},
        "confidence": 0.95, "test_samples": 100, "needed": 88,
        "pretrain_s": 1.0, "unsalvageable": [rows[-1]["chip_id"]],
        "analysis": {"steps": 120, "epochs": 12.0, "samples": 0, "elapsed_s": 5.0},
        "metric": {"name": "accuracy", "higher_is_better": True, "low": 0.0, "high": 1.0},
        "strategies": [strategy("greedy", models, 8.0), strategy("fixed", len(rows), 24.0),
                       strategy("none", 0, 0.0)],
    }  # fmt: skip
