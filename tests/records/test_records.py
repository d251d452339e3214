"""What pages say of the records is what the raw rows give."""

import ast
import importlib
import re
from collections import Counter
from pathlib import Path
from statistics import mean
from types import ModuleType

import pytest

from experiments.cheap_analysis import replay
from experiments.cheap_analysis.run import NETWORKS
from experiments.less_retraining.table import short_table
from experiments.records import read, share, where

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
LESS = EXPERIMENTS / "less_retraining"
RECORDS = sorted(path.parent.name for path in EXPERIMENTS.glob("*/table.py"))
STEPS_PER_EPOCH = 33
"""Of digits, in batches of 32."""


@pytest.mark.parametrize("record", RECORDS)
def test_the_tables_of_a_record_are_those_of_its_rows(record):
    pages = "\n".join(page.read_text() for page in (EXPERIMENTS / record).glob("*.md"))
    tables = importlib.import_module(f"experiments.{record}.table").tables()
    assert tables
    for table in tables:
        assert table in pages


def test_the_index_lists_every_record_with_a_page_and_a_command():
    index = (EXPERIMENTS / "README.md").read_text()
    links = re.findall(r"\]\((\w+)/README.md\)", index)
    assert sorted(links) == RECORDS
    for record in RECORDS:
        assert f"`python -m experiments.{record} run" in index
        assert importlib.import_module(f"experiments.{record}.run").main


def test_the_tree_holds_few_lines_of_rows():
    assert sum(len(path.read_text().splitlines()) for path in EXPERIMENTS.rglob("*.csv")) < 6000


def test_the_readme_says_what_ten_seeds_gave():
    assert short_table() in (ROOT / "README.md").read_text()


def test_the_page_of_the_main_job_says_what_the_record_does():
    page = (ROOT / "docs/main_job.md").read_text()
    rows = where(read(LESS / "results.csv"), fleet="uniform-40", seed="0", job="eFAT-style")
    assert rows
    for row in rows:
        epochs = int(row["retrain_steps"]) / STEPS_PER_EPOCH
        once = int(row["analysis_steps"]) / STEPS_PER_EPOCH
        accuracies = (f"{share(row[key], 2)}%" for key in ("mean_test", "worst_test"))
        cells = (row["strategy"], row["models"], f"{epochs:.1f}", f"{epochs + once:.1f}")
        counts = (row["met_val"], row["met_test"])
        assert f"| {' | '.join([*cells, *counts, *accuracies])} |" in page


def test_the_counts_of_less_retraining_are_those_of_its_chips():
    results = where(read(LESS / "results.csv"), strategy="min_cost")
    chips = {}
    for row in read(LESS / "chips.csv.gz"):
        chips.setdefault((row["fleet"], row["seed"], row["job"]), []).append(row)
    assert chips.keys() == {(row["fleet"], row["seed"], row["job"]) for row in results}
    for result in results:
        rows = chips[result["fleet"], result["seed"], result["job"]]
        tests = [float(row["test_after"]) for row in rows]
        statuses = Counter(row["status"] for row in rows)
        trained = {row["group"]: int(row["trained_steps"]) for row in rows if row["group"]}
        passed = sum(test >= float(result["target_test"]) for test in tests)
        assert result["fleet"].endswith(f"-{len(tests)}")
        assert int(result["chips"]) == len(tests)
        assert int(result["met_test"]) == passed == statuses["certified"] + statuses["pass"]
        assert int(result["certified"]) == statuses["certified"]
        assert float(result["mean_test"]) == pytest.approx(mean(tests), abs=1e-6)
        assert float(result["worst_test"]) == pytest.approx(min(tests), abs=1e-6)
        assert int(result["models"]) == len(trained)
        assert int(result["retrain_steps"]) == sum(trained.values())


@pytest.mark.parametrize("name", ["results.csv", "reach.csv"])
def test_gaps_of_the_planners_are_those_of_price_and_bound(name):
    rows = [row for row in read(EXPERIMENTS / "planners" / name) if row["bound"]]
    assert rows
    for row in rows:
        price, bound = float(row["price"]), float(row["bound"])
        assert bound <= price
        assert float(row["gap"]) == pytest.approx(1 - bound / price if price else 0.0, abs=1e-4)


def test_analyses_that_ran_are_those_that_are_replayed():
    recorded = read(replay.HERE / "runs.csv")
    assert {row["network"] for row in recorded} == set(NETWORKS)
    ran = where(recorded, network=replay.DIGITS)
    assert {row["job"] for row in ran} == set(replay.RAN)
    for row in ran:
        replayed = replay.analyse((row["seed"], 0), replay.RAN[row["job"]])
        resilience_map = replayed.resilience_map
        rates = sorted({curve.fault_rate for curve in replayed.curves})
        assert row["rates"] == " ".join(map(str, rates))
        faulty = [round(256 * rate) / 256 for rate in resilience_map.severities]
        assert row["severities"] == " ".join(f"{severity:.9g}" for severity in faulty)
        assert row["amounts_steps"] == " ".join(f"{a:g}" for a in resilience_map.amounts_steps)
        paid = replay.cost(replayed)
        assert paid["steps"] == int(row["steps"])
        assert paid["forward"] == replay.VAL * int(row["evaluations"])


SCRIPTS = sorted(EXPERIMENTS.rglob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_script_asks_of_efat_is_there(script):
    """Scripts of records are not run here; what they import and call by name must exist."""
    tree = ast.parse(script.read_text())
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "efat":
            for name in (alias.name for alias in node.names):
                value = getattr(importlib.import_module(node.module), name, None)
                modules[name] = value or importlib.import_module(f"{node.module}.{name}")
    missing = [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if isinstance(modules.get(node.value.id), ModuleType)
        if not hasattr(modules[node.value.id], node.attr)
    ]
    assert missing == []


RUNS = sorted(
    f"experiments.{path.parent.name}.{path.stem}"
    for record in RECORDS
    for path in (EXPERIMENTS / record).glob("*.py")
    if "\ndef main(" in path.read_text()
)


@pytest.mark.parametrize("module", RUNS)
def test_a_script_says_what_it_takes(module, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [module, "--help"])
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(module).main()
    assert "usage" in capsys.readouterr().out
