"""Campaigns killed for real, from the outside, end with the bytes of an undisturbed one."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.command_line import efat

TINY = (
    "+experiment=resnet_fat", "model=mlp", "model.sizes=[64,16,10]", "baseline.epochs=6",
    "fault_rates.rates=[0.05,0.1,0.2,0.3]", "fault_rates.maps_per_rate=4", "fleet.chips=5",
    "fleet.fault_rate=0.1", "training.budget_epochs=2", "selection.max_drop=0.1",
    "compare=[individual]", "checkpoint_every=10",
)  # fmt: skip
TWO = ("executor.workers=2", "executor.retries=9")
SAME = ("curves.csv", "resilience_map.json", "plan.json", "chips.csv", "models")


def results_of(folder, name="resnet_fat"):
    (run,) = (folder / "outputs" / name).iterdir()
    files = [path for name in SAME for path in ((run / name), *(run / name).glob("*"))]
    return {str(p.relative_to(run)): p.read_bytes() for p in files if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    result = efat(folder, *TINY, "executor=serial")
    assert result.returncode == 0, result.stderr
    assert len(results_of(folder)) >= len(SAME)
    return results_of(folder)


def start(folder, *arguments):
    """Start the command line, with its output in files that a killed one leaves whole."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        command = [sys.executable, "-m", "efat.run", *arguments]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=err)


def wait_for(driver, folder, text):
    while text not in (folder / "out").read_text() and driver.poll() is None:
        time.sleep(0.02)


def workers_of(driver):
    command = ["pgrep", "-P", str(driver.pid), "-f", "spawn_main"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def descendants(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    children = [int(child) for child in found.stdout.split()]
    return [*children, *(one for child in children for one in descendants(child))]


def command_of(pid):
    command = ["ps", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it had just ended by itself
        return False
    return True


def finish(folder, *executor):
    driver = start(folder, *TINY, *executor, "name=last")
    assert driver.wait(300) == 0, (folder / "err").read_text()
    return results_of(folder, "last")


def finished_units(folder, stage="*"):
    """List units with a result, with the time of it: a second computation would change that."""
    found = (folder / "outputs/store").glob(f"{stage}/*.json")
    return {path: path.stat().st_mtime_ns for path in found}


def attempts(folder):
    logs = (folder / "outputs/store/logs").glob("*/*.log")
    return [len(re.findall(" attempt ", log.read_text())) for log in logs]


STOPS = [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("number", "status"), STOPS)
def test_a_stopped_campaign_says_how_to_go_on_and_does(tmp_path, undisturbed, number, status):
    driver = start(tmp_path, *TINY, "executor.workers=1")
    while driver.poll() is None and not finished_units(tmp_path, "analyse"):
        time.sleep(0.02)
    logs = (tmp_path / "outputs/store/logs").glob("*/*.log")
    workers = {int(pid) for log in logs for pid in re.findall(r":(\d+)$", log.read_text(), re.M)}
    driver.send_signal(number)
    assert driver.wait(60) == status
    err = (tmp_path / "err").read_text()
    assert err.startswith("stopped; finished work is saved, to go on: python -m efat.run +exper")
    assert err.count("\n") == 1
    assert workers
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    (stopped,) = (tmp_path / "outputs/resnet_fat").iterdir()
    assert ",missing," in (stopped / "units.csv").read_text()
    before = finished_units(tmp_path)
    result = efat(tmp_path, *TINY, "executor=serial", "name=last")
    assert result.returncode == 0, result.stderr
    after = finished_units(tmp_path)
    assert before.items() <= after.items()  # nothing is computed twice
    assert results_of(tmp_path, "last") == undisturbed
    assert sum(attempts(tmp_path)) - len(after) <= 1  # the one under way


@pytest.mark.slow
def test_a_stopped_training_in_the_driver_itself_says_how_to_go_on(tmp_path):
    driver = start(tmp_path, *TINY, "executor=serial", "baseline.epochs=4000", "stage=pretrain")
    while driver.poll() is None and not list(tmp_path.glob("outputs/store/logs/pretrain/*.log")):
        time.sleep(0.02)
    time.sleep(2)  # into Lightning's loop, which has its own way with signals
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(60) == 143
    assert "stopped; finished work is saved, to go on:" in (tmp_path / "err").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pgrep"), reason="finds workers with pgrep")
def test_thirty_kills(tmp_path, undisturbed):
    rng, kills, rounds = random.Random(0), 0, 0
    while kills < 30:
        folder = tmp_path / str(rounds)
        folder.mkdir()
        drivers = lost = 0
        seen = {}
        for _ in range(8):
            driver = start(folder, *TINY, *TWO)
            wait_for(driver, folder, "pretrain:")
            while driver.poll() is None:
                time.sleep(rng.uniform(0.05, 1.5))
                workers = workers_of(driver)
                if rng.random() < 0.4 or not workers:
                    drivers += kill(driver.pid)
                    driver.wait()
                else:
                    lost += kill(rng.choice(workers))
            now = finished_units(folder)
            assert seen.items() <= now.items()  # nothing is lost, nothing computed again
            seen = now
            if driver.returncode == 0:
                break
        assert finish(folder, *TWO) == undisturbed
        assert seen.items() <= finished_units(folder).items()
        again = sum(attempts(folder)) - len(finished_units(folder))
        assert again <= lost + 2 * drivers  # only what was under way
        kills, rounds = kills + drivers + lost, rounds + 1


@pytest.mark.slow
def test_two_drivers_on_one_store_share_the_work(tmp_path, undisturbed):
    one = start(tmp_path, *TINY, "executor.workers=1", "name=one")
    (tmp_path / "two").mkdir()
    two = start(tmp_path / "two", *TINY, "executor.workers=1", f"store={tmp_path}/outputs/store")
    assert (one.wait(300), two.wait(300)) == (0, 0)
    assert results_of(tmp_path, "one") == results_of(tmp_path / "two") == undisturbed
    assert set(attempts(tmp_path)) == {1}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pgrep"), reason="finds workers with pgrep")
def test_ray_survives_dead_workers_and_a_dead_driver(tmp_path, undisturbed):
    pytest.importorskip("ray")
    ray = ("executor=ray", "executor.retries=9")
    driver = start(tmp_path, *TINY, *ray)
    wait_for(driver, tmp_path, "analyse:")
    workers: list[int] = []
    while not workers and driver.poll() is None:  # not Ray's agents, without which its daemon ends
        workers = [pid for pid in descendants(driver.pid) if "ray::_call" in command_of(pid)]
    assert sum(map(kill, workers))
    while driver.poll() is None and not finished_units(tmp_path, "analyse"):
        time.sleep(0.05)
    assert kill(driver.pid), (tmp_path / "err").read_text()
    driver.wait()
    before = finished_units(tmp_path)
    assert finish(tmp_path, *ray) == undisturbed
    assert before.items() <= finished_units(tmp_path).items()
