"""Trackers: what W&B and Lightning's loggers really wrote, and that none can stop a campaign."""

import csv
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger

from efat.config.compose import compose_jobs
from efat.errors import EfatError
from efat.reporting.html.write import write_report
from efat.reporting.provenance import redact
from efat.reporting.tracking import wandb_dashboard
from efat.reporting.tracking.background import BackgroundTracker
from efat.reporting.tracking.base import RunInfo, Training
from efat.reporting.tracking.lightning_logger import LightningTracker
from efat.reporting.tracking.wandb_runs import WandbTracker
from efat.run import main
from tests.reporting.run_folders import finished
from tests.reporting.wandb_files import of_kind, payloads, records

KEY = "0123456789abcdef" * 4
TRAINING = Training("analyse", KEY, {"fault_rate": 0.1}, (0, 10, 20), (0.5, 0.6, 0.7), 20, 1.5)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """One tiny campaign in W&B, offline, with a training that is logged twice."""
    folder = finished(tmp_path_factory.mktemp("wandb"))
    tracker = WandbTracker("efat", "offline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SWEEP_ID", "sweep1")
        patch.setenv("WANDB_RUN_ID", "fromagent")
        tracker.begin(info(folder))
        tracker.train(TRAINING)
        tracker.finish(write_report(folder))
    return folder, settled(folder)


def settled(folder):
    """Return the records once W&B's service, a process of its own, has written all of them."""
    for _ in range(200):
        runs = records(folder)
        if of_kind(runs, "exit").keys() == runs.keys():
            return runs
        time.sleep(0.05)
    raise AssertionError("W&B did not finish its files within 10 s")


def info(folder):
    return RunInfo(folder, "tiny", "tiny-group", {"seed": 3, "derived": {"x": 1}}, ("8x8",), 10, 32)


def items(record):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in record.item}  # fmt: skip


def test_a_file_that_is_still_being_written_is_read_up_to_its_last_whole_record(tracked, tmp_path):
    folder, _ = tracked
    [path] = folder.glob("wandb/*fromagent/*.wandb")
    whole, part = list(payloads(path)), tmp_path / "part.wandb"
    for end in range(0, path.stat().st_size, 97):
        part.write_bytes(path.read_bytes()[:end])
        assert (read := list(payloads(part))) == whole[: len(read)]
    assert len(read) > len(whole) / 2  # the last cut has most of the file


def test_a_training_is_a_run_of_the_campaigns_group(tracked):
    _, runs = tracked
    [run] = of_kind(runs, "run")[KEY[:16]]
    assert (run.run_group, run.job_type, list(run.tags)) == (
        "tiny-group", "analyse", ["8x8", "analyse"],
    )  # fmt: skip
    config = {u.key: json.loads(u.value_json) for u in run.config.update}
    assert config["seed"] == 3
    assert config["derived"] == {"x": 1}
    assert config["training_unit"] == {"fault_rate": 0.1}
    assert {r.run_group for [r] in of_kind(runs, "run").values()} == {"tiny-group"}


def test_curves_have_three_axes(tracked):
    _, runs = tracked
    points = [items(record) for record in of_kind(runs, "history")[KEY[:16]]]
    axes = ("epochs", "steps", "samples", "val_metric")
    assert [tuple(p[axis] for axis in axes) for p in points] == [
        (0, 0, 0, 0.5), (1, 10, 320, 0.6), (2, 20, 640, 0.7),
    ]  # fmt: skip
    defined = {m.name: m.step_metric for m in of_kind(runs, "metric")[KEY[:16]]}
    assert defined["val_metric"] == "epochs"


def test_artifacts_lead_from_chips_to_models(tracked):
    _, runs = tracked
    kinds = {name: {(a.type, a.use_after_commit) for a in found}
             for name, found in of_kind(runs, "artifact").items()}  # fmt: skip
    assert kinds["fleet-tiny-group"] == {("chips", False)}
    assert kinds["analyse-tiny-group"] == {("chips", True), ("curves", False)}
    assert kinds["select-tiny-group"] == {("curves", True), ("map", False)}
    assert kinds["plan-tiny-group"] == {("chips", True), ("map", True), ("plan", False)}
    assert kinds["retrain-tiny-group"] == {("plan", True), ("models", False)}
    chips = {a.digest for found in of_kind(runs, "artifact").values() for a in found
             if a.type == "chips"}  # fmt: skip
    assert len(chips) == 1  # what is used is what was made


def test_the_campaigns_run_has_tables_pictures_and_the_verdict(tracked):
    folder, runs = tracked
    logged = {key.split("/")[0] for record in of_kind(runs, "history")["fromagent"]
              for key in items(record)}  # fmt: skip
    assert {"chips", "plan", "resilience_map", "resilience_heat_map", "strategies", "cost_table",
            "report"} <= logged  # fmt: skip
    [table] = folder.glob("wandb/*fromagent/files/media/table/chips_*.json")
    table = json.loads(table.read_text())
    row = dict(zip(table["columns"], table["data"][1], strict=True))
    assert row["chip_id"] == "chip01"
    [chips] = [a for a in of_kind(runs, "artifact")["fromagent"] if a.name.endswith("-chips")]
    pictures = [c.path for c in chips.manifest.contents if c.path.startswith("media/images/")]
    assert len(pictures) == len(set(pictures)) == 12
    assert row["why"].startswith("carries group000, whose fused fault map")
    summary = {u.key: json.loads(u.value_json) for record in of_kind(runs, "summary")["fromagent"]
               for u in record.update}  # fmt: skip
    assert summary["verdict"].startswith("10 of 12 chips pass on test")
    assert summary["certified_share"] == 10 / 12


def test_wandbs_tables_say_which_chips_are_verified(tracked):
    folder, _ = tracked

    def column(table, name):
        [path] = folder.glob(f"wandb/*fromagent/files/media/table/{table}_*.json")
        document = json.loads(path.read_text())
        return [row[document["columns"].index(name)] for row in document["data"]]

    assert Counter(column("chips", "status")) == {"certified": 10, "fail": 2}
    assert column("strategies", "certified") == [10, 10, 10]


def test_offline_wandb_reports_nothing_of_its_own_over_a_network(tmp_path, monkeypatch):
    """Unless the user wants it to; it would also take a fifth of the time of a short run."""
    for given, kept in ((None, "false"), ("true", "true")):
        monkeypatch.setenv("WANDB_ERROR_REPORTING", given or "")
        if given is None:
            monkeypatch.delenv("WANDB_ERROR_REPORTING")
        WandbTracker("efat", "offline").begin(info(tmp_path))
        assert os.environ["WANDB_ERROR_REPORTING"] == kept


def test_the_latest_of_hundreds_of_runs_has_no_link(tracked):
    folder, _ = tracked
    assert not [path for path in (folder / "wandb").iterdir() if path.is_symlink()]


def test_disabled_writes_nothing(tmp_path):
    tracker = WandbTracker("efat", "disabled")
    tracker.begin(info(tmp_path))
    tracker.train(TRAINING)
    tracker.finish(None)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(EfatError, match=r"tracking.mode: 'on' given; allowed: offline"):
        WandbTracker("efat", "on")


def test_no_key_warns_once_and_stops_nothing(tmp_path, monkeypatch):
    no_account(monkeypatch, tmp_path)
    said = []
    guard = BackgroundTracker(WandbTracker("efat", "online"), said.append)
    guard.begin(info(tmp_path))
    guard.train(TRAINING)
    guard.finish(None)
    assert len(said) == 1
    assert "no W&B key" in said[0]


class Broken:
    def __init__(self):
        self.calls, self.free = [], threading.Event()

    def begin(self, info):
        self.calls.append("begin")

    def train(self, training):
        self.calls.append("train")
        raise OSError("No space left on device")

    def finish(self, run):
        self.free.wait(20)


def test_what_fails_is_said_once_and_left_off(tmp_path):
    said, broken = [], Broken()
    guard = BackgroundTracker(broken, said.append)
    guard.begin(info(tmp_path))
    for _ in range(3):
        guard.train(TRAINING)
    guard.finish(None)
    assert broken.calls == ["begin", "train"]
    [line] = said
    assert "OSError: No space left on device" in line


def test_what_hangs_is_not_waited_for(tmp_path):
    said, broken = [], Broken()
    guard = BackgroundTracker(broken, said.append, patience_s=0.05)
    guard.begin(info(tmp_path))
    guard.finish(None)
    broken.free.set()
    assert "no answer for 0.05 s" in said[0]


def test_lightnings_loggers_get_curves_and_results(tmp_path):
    folder = finished(tmp_path)
    tracker = LightningTracker(partial(CSVLogger), "csv_logs")
    tracker.begin(info(folder))
    tracker.train(TRAINING)
    tracker.finish(write_report(folder))
    place = folder / "csv_logs" / "analyse" / KEY[:16] / "metrics.csv"
    rows = list(csv.DictReader(place.open()))
    assert [(float(r["samples"]), float(r["val_metric"])) for r in rows] == [
        (0, 0.5), (320, 0.6), (640, 0.7),
    ]  # fmt: skip
    [greedy] = csv.DictReader((folder / "csv_logs/results/greedy/metrics.csv").open())
    assert float(greedy["epochs"]) == 8.0


def test_secrets_and_home_folders_stay_at_home():
    config = {"data": {"path": "/home/me/x", "Auth_Token": "abc"}, "list": ["/home/me", 1],
              "other": "/home/meadow", "api_key": None}  # fmt: skip
    assert redact(config, Path("/home/me")) == {
        "data": {"path": "~/x", "Auth_Token": "(left out)"}, "list": ["~", 1],
        "other": "/home/meadow", "api_key": None,
    }  # fmt: skip


def no_account(monkeypatch, folder):
    for name in ("HOME", "XDG_CONFIG_HOME", "WANDB_CONFIG_DIR", "NETRC"):
        monkeypatch.setenv(name, str(folder / "nobody"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def test_the_dashboard_shows_what_is_logged(tracked, monkeypatch):
    pytest.importorskip("wandb_workspaces")
    from wandb_workspaces.workspaces import internal

    sent = []
    view = {"view": {"name": "nw-abc-v", "id": "1"}}
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(default_entity="me", settings={}))
    monkeypatch.setattr(
        internal, "execute_graphql", lambda *a: sent.append(a[2]) or {"upsertView": view}
    )
    monkeypatch.setattr(
        "wandb_workspaces.workspaces.interface.get_app_url", lambda api: "https://w.b"
    )
    monkeypatch.setattr(wandb_dashboard, "require_key", lambda otherwise: None)
    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    assert wandb_dashboard.apply_dashboard("efat") == "https://w.b/me/efat?nw=abc"
    [saved] = sent
    assert (saved["entityName"], saved["projectName"]) == ("me", "efat")
    spec = json.loads(saved["spec"])
    panels = [p for s in spec["section"]["panelBankConfig"]["sections"] for p in s["panels"]]
    assert len(panels) == 19
    _, runs = tracked
    logged = {name for found in of_kind(runs, "history").values() for record in found
              for key in items(record) for name in (key, key.rpartition("/")[0])}  # fmt: skip
    logged |= {u.key for r in of_kind(runs, "summary")["fromagent"] for u in r.update}
    wanted = {key for p in panels for key in (*p["config"].get("mediaKeys", ()),
              *p["config"].get("metrics", ()))}  # fmt: skip
    figures = {f"figures/{name}" for name in wandb_dashboard.FIGURES}  # of runs, see test_run.py
    tables = {"chips", "plan", "strategies", "resilience_map"}
    assert figures <= wanted
    assert (wanted - figures) | tables <= logged
    assert all(f'"{table}"' in saved["spec"] for table in tables)


def test_a_dashboard_needs_a_key_the_package_and_wandb(tmp_path, monkeypatch, capsys):
    no_account(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)

    def said(*arguments):
        monkeypatch.setattr("sys.argv", ["efat", "stage=dashboard", *arguments])
        assert main() == 2
        return " ".join(capsys.readouterr().err.split())

    assert "tracking: stage=dashboard is for W&B; add tracking=wandb" in said()
    assert "runs: ['a'] given; stage=dashboard takes none" in said("runs=[a]")
    assert "no W&B key; run `wandb login`" in said("tracking=wandb")
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    assert "pip install 'efat[dashboard]'" in said("tracking=wandb")
    assert list(tmp_path.iterdir()) == []


def test_wandb_sync_takes_every_offline_run(tracked):
    """The command of docs/wandb.md, as far as it goes without a network."""
    folder, runs = tracked
    paths = sorted(map(str, folder.glob("wandb/offline-run-*")))
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", *paths]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert f"Would sync {len(paths)} run(s)" in told
    assert all(f"run-{name}.wandb" in told for name in runs)


def test_the_sweep_drives_the_command_line():
    sweep = yaml.safe_load((Path(__file__).parents[2] / "experiments/wandb_sweep.yaml").read_text())
    assert sweep["metric"]["name"] in {"epochs"}  # of the campaign's run
    fixed = [part for part in sweep["command"] if not part.startswith("${")]
    assert fixed[:3] == ["python", "-m", "efat.run"]
    names = list(sweep["parameters"])
    jobs = list(product(*(sweep["parameters"][name]["values"] for name in names)))
    for values in jobs:
        chosen = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
        [cfg] = compose_jobs([*fixed[3:], *chosen])
        assert cfg.tracking.mode == "online"
        assert cfg.selection.max_drop == values[names.index("selection.max_drop")]
    assert len(jobs) == 6
