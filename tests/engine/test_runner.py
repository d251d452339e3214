"""The ledger: what is done is found, what is missing is computed once, what goes wrong is said."""

import contextlib
import csv
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from efat import EfatError
from efat.engine.executors import Serial
from efat.engine.progress import Progress
from efat.engine.runner import UnitRunner
from efat.engine.store import LAYOUT, Result, Store, content_key
from efat.io import write_csv
from efat.reporting.unit_table import unit_rows
from efat.training.jobs import TrainingJob
from tests.training.specs import spec

SETUP = spec()
JOBS = [TrainingJob(SETUP, seed, 10 + seed) for seed in range(6)]


def square(job, store):
    return Result({"metric": [job.seed**2], "elapsed_s": 0.1, "diverged_steps": None})


def even_only(job, store):
    if job.seed % 2:
        raise EfatError(f"seed {job.seed} is odd")
    return square(job, store)


def campaign(path, **executor):
    store = Store(path / "store")
    store.open()
    return UnitRunner(store, Serial(**executor), Progress(Console(width=300), {}))


def answers(found):
    return [values["metric"][0] for _, values in found]


def test_only_what_is_missing_is_computed(tmp_path):
    first = campaign(tmp_path)
    assert answers(first.run("train", square, JOBS[:4])) == [0, 1, 4, 9]
    assert first.computed == {"train": 4}
    again = campaign(tmp_path)
    assert answers(again.run("train", square, [*JOBS, JOBS[0]])) == [0, 1, 4, 9, 16, 25, 0]
    assert again.computed == {"train": 2}
    changed = [replace(job, setup=replace(SETUP, num_classes=9)) for job in JOBS]
    again.run("train", square, changed)
    assert again.computed == {"train": 8}


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_result_is_reported_and_computed_again(tmp_path, capsys, how):
    first = campaign(tmp_path)
    first.run("train", square, JOBS)
    path = first.store.path("train", content_key("train", JOBS[3]), ".json")
    data = bytearray(path.read_bytes())
    data[data.index(b"9")] ^= 1
    path.write_bytes(data if how == "flipped" else data[:-40])
    again = campaign(tmp_path)
    assert answers(again.run("train", square, JOBS)) == [0, 1, 4, 9, 16, 25]
    assert again.computed == {"train": 1}
    said = " ".join(capsys.readouterr().out.split())
    assert said.count(f"damaged {path}: not as it was written; computed again") == 1


def test_a_failed_unit_is_reported_with_its_log_and_the_rest_goes_on(tmp_path):
    done = campaign(tmp_path)
    with pytest.raises(EfatError) as caught:
        done.run("train", even_only, JOBS)
    problems = caught.value.problems
    assert len(problems) == 4
    assert "failed: seed 1 is odd; log: " in problems[0]
    log = problems[0].split("log: ")[1]
    assert "EfatError: seed 1 is odd" in Path(log).read_text()
    assert problems[3].startswith("train: 3 of 6 units failed")
    assert done.computed == {"train": 3}
    states = [row["state"] for row in unit_rows(done.records.values(), done.store)]
    assert sorted(states) == ["computed"] * 3 + ["failed"] * 3


def test_fail_fast_stops_at_the_first(tmp_path):
    done = campaign(tmp_path, fail_fast=True)
    with pytest.raises(EfatError, match="seed 5 is odd"):
        done.run("train", even_only, JOBS)
    assert done.computed == {"train": 0}


def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    done, written = campaign(tmp_path), []

    def full(descriptor):
        written.append(descriptor)
        if len(written) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        done.run("train", square, JOBS)
    files = list((tmp_path / "store/train").iterdir())
    assert len(files) == 2
    assert all(json.loads(file.read_bytes())["sha256"] for file in files)
    again = campaign(tmp_path)
    assert answers(again.run("train", square, JOBS)) == [0, 1, 4, 9, 16, 25]
    assert again.computed == {"train": 4}


def test_two_campaigns_at_once_share_the_work(tmp_path):
    calls, results = [], {}

    def slow(job, store):
        calls.append(job.seed)
        time.sleep(0.05)
        return square(job, store)

    def go(name):
        results[name] = answers(campaign(tmp_path).run("train", slow, JOBS))

    threads = [threading.Thread(target=go, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"a": [0, 1, 4, 9, 16, 25], "b": [0, 1, 4, 9, 16, 25]}
    assert sorted(calls) == [0, 1, 2, 3, 4, 5]  # each once
    assert not list((tmp_path / "store/locks/train").iterdir())


HOLD = """
import sys, time
from pathlib import Path
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_dead_owner_blocks_nobody(tmp_path, capsys):
    done = campaign(tmp_path)
    lock = done.store.lock_path("train", content_key("train", JOBS[2]))
    lock.parent.mkdir(parents=True)
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    with contextlib.closing(owner.stdout) as said:
        said.readline()
    threading.Timer(0.5, owner.kill).start()
    assert answers(done.run("train", square, JOBS)) == [0, 1, 4, 9, 16, 25]
    owner.wait()
    assert "train: waiting for 1 unit of another run" in capsys.readouterr().out


def test_what_a_killed_writer_left_is_removed_but_not_what_a_living_one_writes(tmp_path):
    store = campaign(tmp_path).store
    (store.root / "train").mkdir()
    rests = [store.root / "train" / f".{key}.json.x7" for key in ("d" * 64, "a" * 64)]
    for rest in rests:
        rest.touch()
    with store.lock("train", "a" * 64):
        store.open()
    assert [rest.exists() for rest in rests] == [False, True]


@pytest.mark.parametrize("layout", [None, LAYOUT - 1, LAYOUT + 1, "text"])
def test_a_store_of_another_layout_is_refused_with_what_to_do(tmp_path, layout):
    store = campaign(tmp_path).store
    store.write("train", "k", Result({}))
    store.check_layout()
    path = store.root / "layout.json"
    path.unlink() if layout is None else path.write_text(json.dumps({"layout": layout}))
    with pytest.raises(EfatError, match=r"name another store=\.\.\., or delete that folder"):
        store.check_layout()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a folder of the system's")
def test_a_store_that_cannot_be_written_is_refused():
    with pytest.raises(EfatError, match=r"store: /proc/efat given; it cannot be written"):
        Store(Path("/proc/efat")).check_writable()


def test_units_have_tidy_rows(tmp_path):
    done = campaign(tmp_path)
    done.run("train", square, JOBS[:2])
    write_csv(tmp_path / "units.csv", unit_rows(done.records.values(), done.store))
    with (tmp_path / "units.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [json.loads(row["config"]) for row in rows] == [
        {"amount_steps": 10, "seed": 0},
        {"amount_steps": 11, "seed": 1},
    ]
    row = rows[1]
    expected = {"stage": "train", "state": "computed", "steps": "11", "result": "1"}
    assert {name: row[name] for name in expected} == expected
    assert (row["retries"], row["seconds"], row["reason"]) == ("0", "0.1", "")
    assert (tmp_path / "store/logs/train" / f"{row['key']}.log").samefile(row["log"])


def test_the_time_left_of_a_stage_that_trains_nothing_is_told_from_its_units(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("efat.engine.progress.time.monotonic", lambda: now[0])
    progress = Progress(Console(quiet=True), {"analyse": 90})
    progress.begin("analyse", 90, 10)
    assert progress.clock() == "elapsed 0:00 left -:--"
    for _ in range(10):
        now[0] += 1
        progress.advance(9)
    progress.begin("retrain", 0, 100)  # repaired, not trained
    now[0] += 10
    progress.advance(0)
    assert progress.clock() == "elapsed 0:20 left 16:30"
    assert progress.bar.tasks[0].completed == 101
    assert progress.bar.tasks[0].total == 200
