"""Tables of records are what their raw rows give."""

import ast
import csv
import importlib
import runpy
from collections import Counter
from pathlib import Path
from statistics import mean
from types import ModuleType

import pytest

from experiments.record_tables import HERE

ROOT = Path(__file__).parents[2]
LESS = ROOT / "experiments/2026-11-22-less-retraining"
MAIN_JOB = ("uniform-40", "0", "eFAT-style")
STEPS_PER_EPOCH = 33
"""Of digits, in batches of 32."""


def rows(name):
    with (LESS / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_of_less_retraining_are_those_of_its_rows(monkeypatch):
    monkeypatch.syspath_prepend(LESS)
    script, text = runpy.run_path(str(LESS / "table.py")), (LESS / "README.md").read_text()
    fleets, seeds = (runpy.run_path(str(LESS / f"{n}_tables.py")) for n in ("fleet", "seed"))
    tables = script["table"], script["rates_table"], seeds["seeds_table"]
    tables += fleets["fleet_table"], fleets["aim_table"]
    for table in tables:
        assert table() in text
    assert seeds["short_table"]() in (ROOT / "README.md").read_text()


def test_the_counts_of_less_retraining_are_those_of_its_chips():
    chosen = {
        (row["fleet"], row["seed"], row["job"]): row
        for row in rows("results.csv")
        if row["strategy"] == "min_cost"
    }
    chips = {}
    for row in rows("chips.csv"):
        chips.setdefault((row["fleet"], row["seed"], row["job"]), []).append(row)
    assert chips.keys() == chosen.keys()
    for run, result in chosen.items():
        tests = [float(row["test_after"]) for row in chips[run]]
        found = Counter(row["status"] for row in chips[run])
        trained = {row["group"]: row["trained_steps"] for row in chips[run] if row["group"]}
        assert len(tests) == int(result["chips"])
        assert run[0].endswith(f"-{result['chips']}")
        assert sum(test >= float(result["target_test"]) for test in tests) == int(
            result["met_test"]
        )
        assert found["verified"] == int(result["verified"])
        assert found["verified"] + found["met"] == int(result["met_test"])
        assert mean(tests) == pytest.approx(float(result["mean_test"]), abs=1e-6)
        assert min(tests) == pytest.approx(float(result["worst_test"]), abs=1e-6)
        assert len(trained) == int(result["models"])
        assert sum(map(int, trained.values())) == int(result["retrain_steps"])


def test_the_page_of_the_main_job_says_what_the_record_does():
    page = (ROOT / "docs/main_job.md").read_text()
    found = rows("results.csv")
    main = {r["strategy"]: r for r in found if (r["fleet"], r["seed"], r["job"]) == MAIN_JOB}
    assert main
    for name, row in main.items():
        epochs = int(row["retrain_steps"]) / STEPS_PER_EPOCH
        once = int(row["analysis_steps"]) / STEPS_PER_EPOCH
        accuracies = (f"{100 * float(row[key]):.2f}%" for key in ("mean_test", "worst_test"))
        cells = (name, row["models"], f"{epochs:.1f}", f"{epochs + once:.1f}", row["met_val"])
        assert f"| {' | '.join([*cells, row['met_test'], *accuracies])} |" in page


REAL = (
    "cifar10-resnet20",
    "fashion-fap-fat",
    "channel-order",
    "merging-maps",
    "repair",
    "hardening",
)


@pytest.mark.parametrize("record", [f"2026-11-22-{name}" for name in REAL])
def test_the_tables_of_a_record_on_real_data_follow_from_its_raw_rows(record):
    readme = (HERE / record / "README.md").read_text()
    tables = runpy.run_path(str(HERE / record / "table.py"))["tables"]()
    assert tables
    for lines in tables:
        assert "\n".join(lines) in readme


def test_the_tables_of_repair_on_images_are_those_of_its_rows():
    record = ROOT / "experiments/2026-11-22-less-retraining-images"
    tables = runpy.run_path(str(record / "table.py"))["tables"]()
    text = (record / "README.md").read_text()
    assert len(tables) >= 15
    for table in tables:
        assert table in text


@pytest.mark.parametrize("record", ["2026-11-22-cheap-analysis", "2026-11-22-amounts"])
def test_the_tables_of_the_analysis_are_those_of_its_rows(record):
    script = runpy.run_path(str(HERE / record / "table.py"))
    readme = (HERE / record / "README.md").read_text()
    tables = [make() for name, make in script.items() if name.endswith("_table")]
    assert len(tables) >= 2
    for table in tables:
        assert table in readme


def test_analyses_that_ran_are_those_that_are_replayed():
    script = runpy.run_path(str(HERE / "2026-11-22-cheap-analysis/replay.py"))
    recorded = script["read"]("runs.csv")
    networks = runpy.run_path(str(HERE / "2026-11-22-cheap-analysis/run.py"))["NETWORKS"]
    assert {row["network"] for row in recorded} == set(networks)
    ran = [row for row in recorded if row["network"] == script["DIGITS"]]
    assert {row["job"] for row in ran} == set(script["RAN"])
    for row in ran:
        replayed = script["analyse"]((row["seed"], 0), script["RAN"][row["job"]])
        rates = sorted({curve.fault_rate for curve in replayed.curves})
        assert row["rates"] == " ".join(map(str, rates))
        drawn = [round(256 * rate) / 256 for rate in replayed.found.severities]
        assert row["severities"] == " ".join(f"{severity:.9g}" for severity in drawn)
        assert row["amounts_steps"] == " ".join(f"{a:g}" for a in replayed.found.amounts_steps)
        paid = script["cost"](replayed)
        assert paid["steps"] == int(row["steps"])
        assert paid["forward"] == script["VAL"] * int(row["evaluations"])


SCRIPTS = sorted(ROOT.glob("experiments/**/*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_script_asks_of_efat_is_there(script):
    """Scripts of records are not run here; what they import and call by name must exist."""
    tree = ast.parse(script.read_text())
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "efat":
            for name in (alias.name for alias in node.names):
                found = getattr(importlib.import_module(node.module), name, None)
                modules[name] = found or importlib.import_module(f"{node.module}.{name}")
    asked = [
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    missing = [
        f"{name}.{attribute}"
        for name, attribute in asked
        if isinstance(modules.get(name), ModuleType) and not hasattr(modules[name], attribute)
    ]
    assert missing == []
